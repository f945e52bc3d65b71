"""A curriculum in the loggers: its values as scalars, its decisions, its concepts, its graph."""

import csv
import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Command
from tests.tracking.wandb_file import read_runs


@pytest.fixture
def run(command: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "offline")
    small = ("teacher=none", "student.model=digits_cnn_4", "data.batch_size=32", "trainer.max_epochs=3")
    own = ("curriculum={_target_: tests.curricula.walking.Walking}", "callbacks.progress_bar=null")
    outcome = command("kd-train", *small, *own, "logger=[csv,tensorboard,wandb]", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    return outcome.folder / "run"


def test_all_loggers_show_a_curriculum(run: Path) -> None:
    told = json.loads((run / "curriculum.json").read_text())["epochs"]
    share = [one["values"]["share"] for one in told]
    with (run / "metrics.csv").open() as file:
        assert [float(row["curriculum/share"]) for row in csv.DictReader(file) if row["curriculum/share"]] == (
            pytest.approx(share)
        )
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    assert [event.value for event in board.Scalars("curriculum/share")] == pytest.approx(share)
    texts = [event.tensor_proto.string_val[0].decode() for event in board.Tensors("curriculum/decisions/text_summary")]
    assert texts == [f"- {decision}" for one in told for decision in one["decisions"]]
    assert "curriculum/concepts" in board.Tags()["images"]

    (file,) = read_runs(run)
    assert [row["curriculum/share"] for row in file.history if "curriculum/share" in row] == pytest.approx(share)
    decisions = file.table("curriculum/decisions")
    assert decisions["columns"] == ["epoch", "teaches", "decision"]
    assert [row[2] for row in decisions["data"]] == [decision for one in told for decision in one["decisions"]]
    concepts = file.table("curriculum/concepts")["data"]
    assert len(concepts) == 3 * 10
    assert concepts[0] == [0, "class 0", told[0]["concepts"]["class 0"], True]
    for name in ("accuracy", "graph"):
        figure = file.table(f"curriculum/{name}")  # a picture is a file of JSON as a table is
        assert {trace["type"] for trace in figure["data"]} <= {"heatmap", "scatter"}
