"""What is installed is whole: built as wheel and sdist, it works from an empty folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from kd_lightning.commands.{0} import main; main()"
QUICK = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "teacher.model=digits_cnn_4")


def python(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel built from it, as `pip install` of the sdist would."""
    folder = tmp_path_factory.mktemp("dist")
    built = python("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel and nothing of the clone."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def configs(names: list[str]) -> set[str]:
    """Those of the folder conf/ at the top; an addition in the tests has one of its own."""
    found = (name.split("/", 2) for name in names if name.endswith(".yaml"))
    return {parts[2] for parts in found if len(parts) == 3 and parts[1] == "conf"}


@pytest.mark.slow
def test_wheel_and_sdist_have_the_version_of_the_clone(distributions: Path) -> None:
    told = python("-m", "hatchling", "version", cwd=ROOT).stdout.strip()
    assert [file.name.split("-")[1] for file in distributions.glob("*.whl")] == [told]
    assert [file.name for file in distributions.glob("*.tar.gz")] == [f"kd_lightning-{told}.tar.gz"]


@pytest.mark.slow
def test_wheel_and_sdist_hold_every_config(distributions: Path) -> None:
    expected = {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*.yaml")}
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        assert configs(wheel.namelist()) == expected
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        assert configs(sdist.getnames()) == expected


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = python("-c", "import kd_lightning; print(kd_lightning.__file__)", cwd=tmp_path, path=installed)
    assert Path(where.stdout.strip()).is_relative_to(installed)
    trained = python("-c", MAIN.format("train"), *QUICK, cwd=tmp_path, path=installed)
    assert trained.returncode == 0, trained.stderr
    assert "distilled student" in trained.stdout
    run = next(tmp_path.glob("outputs/*/*"))
    tested = python("-c", MAIN.format("evaluate"), f"run={run}", cwd=tmp_path, path=installed)
    assert tested.returncode == 0, tested.stderr


@pytest.mark.slow
def test_two_ranks_train_one_student(tmp_path: Path) -> None:
    ranks = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    script = Path(sys.executable).with_name("kd-train")
    trained = python(str(script), *QUICK, *ranks, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("distilled student") == 1, "only the first rank speaks"
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1, "all ranks work in one folder"
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 1
