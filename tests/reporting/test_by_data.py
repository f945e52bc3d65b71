"""Runs on several data sets in one report: each has its part, for their accuracies are not comparable."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.reporting.figures.cost import result_over_cost
from kd_lightning.reporting.figures.style import in_thousands, logarithmic
from kd_lightning.reporting.pages.content import Table
from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.reporting.tables.by_data import by_data
from kd_lightning.runs.collections.reading import read
from kd_lightning.tracking.environment import git_state
from tests.conftest import Command


@pytest.fixture
def runs(sweep: Path, tmp_path: Path) -> Path:
    """Six runs, of which two are on another data set, and one on one of the same name with other classes."""
    folder = tmp_path / "outputs"
    for job, changes in enumerate([{}, {}, {}, {"name": "other"}, {"name": "other"}, {"classes": ["cat", "dog"]}]):
        run = shutil.copytree(sweep / str(job), folder / str(job))
        (run / "status.json").unlink()
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(summary | {"data": summary["data"] | changes}))
    return folder


def test_each_data_set_has_its_part(runs: Path, command: Command) -> None:
    parts = by_data(read(sorted(runs.iterdir())))
    assert [(part.title, len(part.runs)) for part in parts] == [
        ("digits of 10 classes", 3),
        ("other", 2),
        ("digits of 2 classes", 1),
    ]
    page = sweep_page(read(sorted(runs.iterdir())))
    assert [section.title for section in page.sections if section.listed] == [part.title for part in parts]
    assert len({section.id for section in page.sections}) == len(page.sections)
    assert [card.label for card in page.cards] == [f"{part.title}, best validation top-1" for part in parts]
    tables = [content for section in page.sections for content in section.contents if isinstance(content, Table)]
    assert sum(table.titles[0] == "run" for table in tables) == 3
    outcome = command("kd-report", *map(str, runs.iterdir()), "--format=html,csv,markdown", f"--output={runs}")
    assert outcome.code == 0, outcome.errors
    markdown = (runs / "report.md").read_text()
    assert all(f"## {part.title}" in markdown for part in parts)
    with (runs / "report.csv").open(newline="") as file:
        assert sorted(row["data_set"] for row in csv.DictReader(file)) == ["digits"] * 4 + ["other"] * 2


def test_runs_on_one_data_set_are_not_divided(sweep: Path) -> None:
    runs = read([sweep])
    assert by_data(runs) == [runs]


def test_ticks_of_a_logarithmic_axis_are_round_numbers_in_full(sweep: Path) -> None:
    assert logarithmic([1_702, 94_186])["ticktext"] == ["1k", "10k", "100k"]
    assert logarithmic([1_100_000, 1_240_000])["ticktext"] == ["600k", "800k", "1M", "1.5M", "2M"]
    assert len(logarithmic([1, 1e12])["ticktext"]) <= 7
    assert [in_thousands(value) for value in (0.5, 20, 2_500, 1e9)] == ["0.5", "20", "2.5k", "1G"]
    run = read([sweep]).runs[0]
    assert run.compared is not None
    cost: Any = result_over_cost(run, run.compared.validation)
    axis = cost["layout"]["xaxis"]
    assert len(axis["tickvals"]) == len(axis["ticktext"]) >= 3
    assert all(text.rstrip("kMG").replace(".", "").isdigit() for text in axis["ticktext"])


def test_without_a_repository_nothing_is_said_of_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == {"revision": None, "changed": None}
