"""Every notebook is valid, holds no outputs, and its cells run from top to bottom."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_is_one() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in code_cells(notebook):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_cells_run(path: Path, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sweep, tmp_path / "multirun" / "2026-01-01" / "00-00-00")
    run_cells(path)


@pytest.mark.parametrize(
    ("jobs", "keys"),
    [(range(16), 3), ((0, 1, 8, 9), 1), ((0, 1), 0), ((), 0)],
    ids=["three parameters", "one", "seeds alone", "nothing finished"],
)
def test_a_sweep_of_any_kind_is_read_from_the_notebooks_folder(
    jobs: Sequence[int], keys: int, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "multirun" / "2026-01-01" / "00-00-00"
    for job in jobs:
        shutil.copytree(sweep / str(job), folder / str(job))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(sweep / "multirun.yaml", folder)
    if len(jobs) == 16:  # others as ones that had planned these jobs alone
        shutil.copy(sweep / "planned.json", folder)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    namespace = run_cells(next(path for path in NOTEBOOKS if path.stem == "sweep"))
    assert len(namespace["sweep"].keys) == keys
    finite = namespace["means"].dropna()
    assert len(finite) == {3: 4, 1: 2, 0: len(jobs)}[keys]


def run_cells(path: Path) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(json.loads(path.read_text()))):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)
    return namespace
