"""What all tests share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch comes in: the tests run side by side

import pytest
import torch
from filelock import FileLock

from kd_lightning.commands import cache, evaluate, export, inspect, predict, report, train

SHARED = Path(__file__).resolve().parents[2] / "shared"
COMMANDS = {
    "kd-train": train.main,
    "kd-eval": evaluate.main,
    "kd-inspect": inspect.main,
    "kd-report": report.main,
    "kd-export": export.main,
    "kd-predict": predict.main,
    "kd-cache": cache.main,
}


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    output: str
    errors: str
    folder: Path

    @property
    def run(self) -> Path:
        """The folder of the latest run."""
        return max(self.folder.glob("outputs/*/*"), key=lambda path: path.stat().st_mtime)

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.errors.splitlines() if line.startswith("error:")]


Command = Callable[..., Outcome]
SHORT = ("trainer.max_epochs=2", "callbacks.progress_bar=null", "teacher.model=digits_cnn_8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command as a user does, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(name: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        code = 0
        try:
            COMMANDS[name]()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capfd.readouterr(), tmp_path)

    return run


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained teachers go into a folder of the test session, not into the user's."""
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(session_folder(tmp_path_factory) / "cache"))


def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test session, which processes that test side by side share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def trained_once(session: Path, name: str, *arguments: str, cache: str = "cache") -> Path:
    """A folder of the session with the run of these arguments, which is run unless another process did."""
    folder = session / name
    kind = "hydra.sweep.dir" if "-m" in arguments else "hydra.run.dir"
    with FileLock(session / f"{name}.lock"), pytest.MonkeyPatch.context() as patch:
        if not (session / f"{name}.done").exists():
            patch.setenv("KD_LIGHTNING_CACHE", str(session / cache))
            patch.setattr(sys, "argv", ["kd-train", *arguments, f"{kind}={folder}"])
            train.main()
            (session / f"{name}.done").touch()
    return folder


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 16 jobs over three parameters and two seeds; copy it before you change it."""
    session = session_folder(tmp_path_factory)
    short = ("trainer.max_epochs=1", "trainer.log_every_n_steps=2", "teacher.model=digits_cnn_4")
    grid = ("temperature=1,4", "alpha=0.5,0.9", "loss.ce.weight=0.1,0.5", "seed=0,1")
    return trained_once(session, "sweep", "-m", *short, *grid)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run: teacher, student alone, distilled student; copy it before you change it."""
    return trained_once(session_folder(tmp_path_factory), "finished", *SHORT, cache="of_finished")  # with all curves


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """The same, as the folder `run` of the current folder, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference values and real data, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("reference values and real data are not here")
    return SHARED


def unpack(shared: Path, layout: str, folder: Path) -> Path:
    """Real data in the layout in which they are downloaded."""
    script = shared / "data" / "unpack.py"
    subprocess.run([sys.executable, str(script), layout, str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def cifar100(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CIFAR-100, unpacked once for all processes that test side by side."""
    session = session_folder(tmp_path_factory)
    with FileLock(session / "cifar100.lock"):
        if not (session / "cifar100").is_dir():
            unpack(shared, "cifar100", session / "cifar100.part").rename(session / "cifar100")
    return session / "cifar100"


@pytest.fixture
def photographs(shared: Path, tmp_path: Path) -> Path:
    """A folder of two classes: eight of ImageNet's JPEGs to train on, four to validate on."""
    with ZipFile(shared / "data" / "imagenet-sample.zip") as zipped:
        for i, name in enumerate(sorted(zipped.namelist())[:12]):
            path = tmp_path / ("train" if i < 8 else "val") / f"class{i % 2}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zipped.read(name))
    return tmp_path


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
