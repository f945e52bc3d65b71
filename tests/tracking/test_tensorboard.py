"""`logger=tensorboard`: the same scalars as in metrics.csv, the config, the table and the figures."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import Command
from tests.experiment.test_train import SHORT


def read(folder: Path) -> Any:
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return board


@pytest.fixture
def run(command: Command) -> Path:
    options = (*SHORT, "trainer.log_every_n_steps=2", "logger=[csv,tensorboard]", "temperature=2", "scratch=false")
    outcome = command("kd-train", *options, "hydra.run.dir=run", "seed=41")  # a teacher that no other test has trained
    assert outcome.code == 0, outcome.errors
    return outcome.folder / "run"


def test_it_shows_all_of_a_run(run: Path) -> None:
    board, record = read(run), json.loads((run / "summary.json").read_text())
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert {*board.Tags()["scalars"]} >= {*rows[0]} - {"step"}
    for name in ("train/loss", "train/gradient_norm", "train/images_per_s", "val/top1"):
        in_csv = [float(row[name]) for row in rows if row[name]]
        assert [event.value for event in board.Scalars(name)] == pytest.approx(in_csv, rel=1e-5), name

    assert {*board.Tags()["images"]} == {"confusion_matrix", "reliability"}
    shown = board.Tensors("comparison/text_summary")[0].tensor_proto.string_val[0].decode()
    assert [line.split("|")[1] for line in shown.splitlines()] == ["network", "-", "teacher", "student"]
    assert f"{record['student']['top1']:.4g}" in shown

    content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["temperature"].number_value == 2
    assert values["student.model"].string_value == "digits_cnn_4"
    assert read(run / "teacher").Tags()["images"] == ["confusion_matrix", "reliability"]
