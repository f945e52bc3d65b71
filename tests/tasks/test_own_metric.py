"""A metric of one's own, lower being better: it stands in tables, summary and page, and selects."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.reporting.pages.content import Table
from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.runs.collections.reading import read
from tests.additions.addition import HERE
from tests.conftest import Command

SMALL = ("teacher.model=digits_cnn_4", "trainer.limit_train_batches=3", "callbacks.progress_bar=null")
BRIER = ("task={_target_: brier.WithBrier, selects_on: brier}",)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Path]:
    """The file of the addition, in the folder where commands run."""
    import sys

    yield Path(shutil.copy(HERE / "own_metric" / "brier.py", tmp_path))
    sys.modules.pop("brier", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_a_run_is_measured_and_selected_by_it(
    command: Command, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    once = (*SMALL, "trainer.max_epochs=1")
    assert command("kd-train", *once, "scratch=false", "hydra.run.dir=before").code == 0
    outcome = command("kd-train", *SMALL, "trainer.max_epochs=3", *BRIER, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    rows = [re.split(r"  +", line.strip())[0] for line in outcome.output.splitlines() if line.startswith("  ")]
    for row in ("validation Brier score", "Brier score", "validation top-1 %", "top-1 %", "NLL"):
        assert rows.count(row) == 1, row
    assert re.search(r"Distillation: [+-]0\.\d{4} of Brier score, where lower is better\.", outcome.output)
    record = summary(tmp_path / "run")
    student = record["student"]
    assert {"brier", "brier_best", "brier_last", "brier_validation", "top1", "top1_validation"} <= student.keys()
    assert 0 < student["brier"] < 2
    assert record["data"]["task"]["selects_on"] == "brier"
    logged = [
        float(row["val/brier"]) for row in csv.DictReader((tmp_path / "run/metrics.csv").open()) if row["val/brier"]
    ]
    assert student["brier_validation"] == pytest.approx(min(logged))
    stored = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["callbacks"]
    [(name, state)] = [(name, state) for name, state in stored.items() if "val/brier" in name]
    assert "'mode': 'min'" in name
    assert float(state["best_model_score"]) == pytest.approx(min(logged))
    page = (tmp_path / "run/report.html").read_text()
    assert "test Brier score" in page
    assert "Down is better" in page


def test_a_network_kept_before_is_measured_again(
    command: Command, module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which only selects on what was measured before, so that nothing has to be trained again."""
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    once = (*SMALL, "trainer.max_epochs=1", "scratch=false")
    measured = {}
    for run, task in (
        ("before", ()),
        ("after", ("task={_target_: brier.WithBrier}",)),
        ("again", ("task._target_=brier.WithBrier",)),
    ):
        outcome = command("kd-train", *once, *task, f"hydra.run.dir={run}")
        assert outcome.code == 0, outcome.errors
        assert ("teacher        measured anew" in outcome.output) == (run == "after"), outcome.output
        assert outcome.output.count("training (") == (run == "before")
        measured[run] = summary(tmp_path / run)["teacher"]
    assert "brier" not in measured["before"]
    assert measured["after"]["top1"] == measured["before"]["top1"]
    assert measured["again"]["brier"] == measured["after"]["brier"] > 0
    module.write_text(module.read_text() + "\n# another way to measure\n")
    outcome = command("kd-train", *once, "task={_target_: brier.WithBrier}", "hydra.run.dir=changed")
    assert "teacher        measured anew" in outcome.output


def test_a_sweep_selects_the_lowest(command: Command, module: Path, tmp_path: Path) -> None:
    swept = ("optimizer.lr=0.001,0.05", "seed=0", "hydra.sweep.dir=sweep")
    outcome = command("kd-train", "-m", *SMALL, *BRIER, "trainer.max_epochs=1", *swept)
    assert outcome.code == 0, outcome.errors
    students = [summary(tmp_path / "sweep" / str(job))["student"] for job in (0, 1)]
    reached = [student["brier_validation"] for student in students]
    lowest = reached.index(min(reached))
    record = json.loads((tmp_path / "sweep/sweep.json").read_text())["selected"]
    assert record["jobs"] == [str(lowest)]
    assert record["validation"] == min(reached)
    assert [student["brier"] is None for student in students] == [job != lowest for job in (0, 1)]
    assert "Brier score of the student" in outcome.output
    [told] = [line for line in outcome.output.splitlines() if line.endswith("selected") or "selected " in line]
    assert f"{min(reached):.4f}" in told
    runs = read([tmp_path / "sweep"])
    assert runs.selects_on.name == "brier_validation"
    assert runs.best is runs.selected
    page = sweep_page(runs)
    [table] = [
        content
        for section in page.sections
        if section.id == "configurations"
        for content in section.contents
        if isinstance(content, Table)
    ]
    assert table.marked == [0], "the lowest is the best, and comes first"
    assert {"validation Brier score", "test Brier score", "validation top-1 %"} <= {*table.titles}
    gains = [float(row[table.titles.index("gain, validation")].text) for row in table.rows]
    alone = summary(tmp_path / "sweep" / str(lowest))["scratch"]["brier_validation"]
    assert gains[0] == pytest.approx(alone - min(reached), abs=1e-4), "what is lower is a gain"
    assert any(card.label == "validation Brier score" for card in page.cards)
    assert command("kd-report", "sweep", "--format=csv,markdown", "--output=.").code == 0
    with (tmp_path / "report.csv").open(newline="") as file:
        assert [float(row["student_brier_validation"]) for row in csv.DictReader(file)] == pytest.approx(reached)
    assert "Brier score" in (tmp_path / "report.md").read_text()
