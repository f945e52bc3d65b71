"""Data of one's own whose labels are missing, wrong, or no labels at all."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command

OWN = """
import torch

from kd_lightning.data import InMemoryDataModule, MemoryImages, Sources

TARGETS = {
    "half": torch.where(torch.arange(96) % 2 == 0, torch.tensor([-1, -100]).repeat(48), torch.arange(96) % 3),
    "none": torch.full((96,), -1),
    "all": torch.arange(96) % 3,
    "floats": torch.rand(96),
    "rows": torch.rand(96, 3),
    "too_high": torch.arange(96) % 4,
    "negative": torch.arange(96) % 3 - 2,
}


class Noise(InMemoryDataModule):
    name, in_channels, image_size, mean, std = "noise", 1, 8, (0.5,), (0.5,)

    def __init__(self, *, train, test, **common):
        super().__init__(**common)
        self.train_targets, self.test_targets = TARGETS[train], TARGETS[test]

    @property
    def class_names(self):
        return ["a", "b", "c"]

    def read(self):
        images = torch.randint(0, 256, (96, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return Sources(MemoryImages(images, self.train_targets), MemoryImages(images, self.test_targets))
"""
QUICK = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=csv", "teacher.model=digits_cnn_4", "scratch=false")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_noise.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def data(train: str, test: str) -> tuple[str, ...]:
    options = f"train: {train}, test: {test}, batch_size: 16, val_fraction: 0.25, seed: 0"
    return ("~data", f"+data={{_target_: own_noise.Noise, {options}}}")


def test_samples_without_a_label_leave_what_takes_one(command: Command, own: None) -> None:
    outcome = command("kd-train", *QUICK, *data("half", "half"), "loss=[ce,kd,dkd]")
    assert outcome.code == 0, outcome.errors
    summary = json.loads((outcome.run / "summary.json").read_text())
    assert 0 <= summary["student"]["top1"] <= 1
    assert round(summary["student"]["top1"] * 48, 3) % 1 == pytest.approx(0)  # of 48 test images with a label
    assert summary["student"]["nll"] > 0


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ("too_high", "all", "data=noise: the targets of train hold 3; labels are from 0 to 2"),
        ("negative", "all", "data=noise: the targets of train hold -2"),
        ("all", "too_high", "data=noise: the targets of test hold 3"),
        ("floats", "all", "data=noise: the targets of train must be one int64 label for each image"),
        ("all", "rows", "data=noise: the targets of test must be one int64 label for each image"),
        ("all", "none", "data=noise: no image of test has a label"),
    ],
)
def test_others_are_refused_before_anything_is_trained(
    command: Command, own: None, train: str, test: str, words: str
) -> None:
    outcome = command("kd-train", *QUICK, *data(train, test))
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert words in line
    assert "training (" not in outcome.output
