"""What commands import: those that train nothing no Lightning, those that need no network no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import kd_lightning

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import runpy, sys
command, forbidden = sys.argv[1], sys.argv[2].split(",")
sys.argv[1:] = sys.argv[3:]
try:
    runpy.run_module("kd_lightning.commands." + command, run_name="__main__", alter_sys=True)
    code = 0
except SystemExit as stop:
    code = stop.code or 0
imported = [name for name in forbidden if name in sys.modules]
assert not imported, imported
sys.exit(code)
"""
NO_LIGHTNING = ("lightning", "torchmetrics", "wandb")
NO_TORCH = (*NO_LIGHTNING, "torch", "torchvision", "timm")


def run(folder: Path, command: str, forbidden: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command run as a module in a process of its own; what it must not import fails it with a traceback."""
    return subprocess.run(
        [sys.executable, "-c", RUN, command, ",".join(forbidden), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["train", "evaluate", "inspect", "export", "predict", "report", "cache"])
def test_help_imports_neither_torch_nor_lightning_nor_hydra(name: str, tmp_path: Path) -> None:
    heavy = ("pandas", "scipy", "plotly", "jinja2", "hydra", "omegaconf")
    shown = run(tmp_path, name, (*NO_TORCH, *heavy), "--help")
    assert shown.returncode == 0, shown.stderr
    assert "kd-" in shown.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["temperature=0"]),
        ("train", ["no_such_key=1"]),
        ("train", ["loss=[ce,nothing]"]),
        ("train", ["seed=-1"]),
        ("evaluate", ["run=nowhere"]),
        ("export", ["run=nowhere"]),
        ("predict", ["run=nowhere", "input=x"]),
        ("inspect", []),
        ("inspect", ["student.model=null"]),
        ("report", ["nowhere"]),
        ("cache", ["--dir", "c", "rm", "abc"]),
        ("cache", ["rm"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_is_wrong_by_itself_is_refused_without_torch(command: str, arguments: list[str], tmp_path: Path) -> None:
    refused = run(tmp_path, command, NO_TORCH, *arguments)
    assert refused.returncode == 2, refused.stderr
    assert sum(line.startswith("error: ") for line in refused.stderr.splitlines()) == 1, refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_listed_and_emptied_without_torch(tmp_path: Path) -> None:
    (tmp_path / "c" / "networks" / "abc").mkdir(parents=True)
    listed = run(tmp_path, "cache", NO_TORCH, "--dir", "c", "ls")
    assert listed.returncode == 0, listed.stderr
    assert "abc" in listed.stdout
    removed = run(tmp_path, "cache", NO_TORCH, "--dir", "c", "rm", "abc")
    assert removed.returncode == 0, removed.stderr
    assert not list((tmp_path / "c").glob("networks/abc"))


def test_a_report_needs_no_torch(sweep: Path, tmp_path: Path) -> None:
    made = run(tmp_path, "report", NO_TORCH, str(sweep), "--format=html,csv,markdown", "--output=out")
    assert made.returncode == 0, made.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.csv", "report.md"}


def test_an_inspection_needs_no_lightning(tmp_path: Path) -> None:
    shown = run(tmp_path, "inspect", NO_LIGHTNING, "student.model=resnet8", "teacher.model=resnet20")
    assert shown.returncode == 0, shown.stderr
    assert "stage3" in shown.stdout


def test_the_package_shows_the_names_that_it_imports_late() -> None:
    assert {"DistillationModule", "Objective", "Term", "__version__"} <= set(dir(kd_lightning))
    assert kd_lightning.Term.__module__ == "kd_lightning.term"
    with pytest.raises(AttributeError, match="no attribute 'Termm'"):
        _ = kd_lightning.Termm  # type: ignore[attr-defined]
