"""A user's own model, data, loss and teacher, named by `_target_`, without a change to this package."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.data import InMemoryDataModule, MemoryImages, Sources
from kd_lightning.experiment.checks.config import check
from kd_lightning.sources import FrozenSource
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.steps import trainings

SHORT = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "scratch=false")


class OwnNetwork(nn.Module):
    """A network that this package knows nothing of, with a dictionary for an output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Mapping[str, Tensor]:
        return {"logits": self.head(self.body(image))}


class Stripes(InMemoryDataModule):
    """Two classes of grey 8×8 images: horizontal and vertical stripes."""

    name = "stripes"
    in_channels = 1
    image_size = 8
    mean, std = (0.5,), (0.5,)

    @property
    def class_names(self) -> list[str]:
        return ["horizontal", "vertical"]

    def read(self) -> Sources:
        rows = torch.arange(8).remainder(2).mul(255).to(torch.uint8).expand(8, 8)
        images = torch.stack([rows.T, rows] * 40)[:, None].contiguous()
        targets = torch.arange(80) % 2
        return Sources(MemoryImages(images, targets), MemoryImages(images, targets))


class LearnedLoss(nn.Module):
    """Has parameters of its own, which draw from the random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(10, 10)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.scale(logits), target)


OWN_LOSS = """
from torch import nn

class L1Logits(nn.Module):
    def forward(self, student, teacher):
        return (student - teacher).abs().mean()
"""
OWN_LOSS_CONFIG = """
l1:
  _target_: kd_lightning.objective.Term
  loss: {_target_: own_losses.L1Logits}
  signals: [student.logits, teacher.logits]
  weight: 0.5
"""


class ConstantTeacher(FrozenSource):
    """Says the same of every image."""

    signals = ["logits"]  # noqa: RUF012

    def __init__(self, favourite: int) -> None:
        super().__init__()
        self.favourite = favourite
        self.freeze()

    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        favourites = torch.full((len(batch["input"]),), self.favourite, device=batch["input"].device)
        return {"logits": nn.functional.one_hot(favourites, 10).float()}

    def identity(self) -> dict[str, Any]:
        return {"model": "constant", "favourite": self.favourite}


def run(outcome: Any) -> dict[str, Any]:
    assert outcome.code == 0, outcome.errors
    return json.loads((outcome.run / "summary.json").read_text())  # type: ignore[no-any-return]


def test_an_own_model(command: Command) -> None:
    model = "student.model={_target_: tests.experiment.test_own_classes.OwnNetwork, width: 16}"
    summary = run(command("kd-train", *SHORT, model))
    assert summary["student"]["model"] == "OwnNetwork"
    assert summary["student"]["params"] == 64 * 16 + 16 + 16 * 10 + 10


def test_an_own_data_set(command: Command) -> None:
    data = "data={_target_: tests.experiment.test_own_classes.Stripes, batch_size: 16, val_fraction: 0.25, seed: 0}"
    summary = run(command("kd-train", *SHORT, "~data", f"+{data}"))
    assert summary["data"]["classes"] == ["horizontal", "vertical"]
    assert summary["data"]["images"] == {"train": 60, "val": 20, "test": 80}


def test_an_own_teacher(command: Command) -> None:
    teacher = "teacher={_target_: tests.experiment.test_own_classes.ConstantTeacher, favourite: 3}"
    outcome = command("kd-train", *SHORT[:2], "~teacher", f"+{teacher}", "scratch=false")
    summary = run(outcome)
    assert summary["teacher"]["model"] == "ConstantTeacher"
    assert summary["teacher"]["top1"] == pytest.approx(0.1, abs=0.01)
    assert command("kd-eval", f"run={outcome.run}").code == 0


def test_a_loss_with_parameters_leaves_the_students_first_weights_alone(command: Command) -> None:
    config = composed("loss=ce")
    plain = trainings(check(config))["student"][1].student.state_dict()
    config.loss.ce.loss = {"_target_": "tests.experiment.test_own_classes.LearnedLoss"}
    learned = trainings(check(config))["student"][1].student.state_dict()
    assert all(torch.equal(plain[name], learned[name]) for name in plain)


def test_an_own_loss_from_an_own_config_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "l1.yaml").write_text(OWN_LOSS_CONFIG)
    (tmp_path / "own_losses.py").write_text(OWN_LOSS)
    summary = run(command("kd-train", "--config-dir=own", *SHORT, "loss=[ce,l1]"))
    assert summary["objective"]["l1"] == {"loss": "L1Logits", "weight": 0.5}
    assert summary["objective"]["ce"]["weight"] == 1.0


def test_a_weight_that_changes(command: Command) -> None:
    schedule = "loss.kd.weight={_target_: kd_lightning.schedules.Warmup, value: 0.9, epochs: 1}"
    summary = run(command("kd-train", *SHORT, schedule))
    assert summary["objective"]["kd"]["weight"] == pytest.approx(0.9)
