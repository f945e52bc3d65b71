"""kd-train on real CIFAR-100 and on real JPEGs in ImageNet's layout."""

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import Command, unpack


@pytest.mark.slow
def test_cifar100_is_learned(command: Command, cifar100: Path) -> None:
    networks = ("student.model=resnet8", "teacher.model=resnet8", "loss=[ce,kd,attention]", "loss.attention.weight=10")
    data = ("data=cifar100", f"data.root={cifar100}", "data.download=false", "data.val_fraction=0.02")
    steps = ("trainer.max_epochs=1", "trainer.limit_train_batches=100", "trainer.limit_test_batches=2", "scratch=false")
    outcome = command("kd-train", *networks, *data, *steps)
    assert outcome.code == 0, outcome.errors
    rows = [row for row in csv.DictReader((outcome.run / "metrics.csv").open()) if row["train/ce"]]
    losses = [float(row["train/ce"]) for row in rows]
    assert sum(losses[-3:]) < sum(losses[:3])
    summary = json.loads((outcome.run / "summary.json").read_text())
    assert summary["student"]["top1_validation"] > 0.03, "chance is 0.01"
    assert summary["data"]["images"] == {"train": 49_000, "val": 1_000, "test": 10_000}


@pytest.mark.slow
def test_imagenet_layout_runs_through(command: Command, shared: Path, tmp_path: Path) -> None:
    root = unpack(shared, "imagenet", tmp_path / "data")
    networks = ("student.model=timm/resnet18", "teacher.model=torchvision/mobilenet_v2", "loss=[ce,kd,fitnet]")
    data = ("data=imagenet", f"data.root={root}", "data.image_size=64", "data.resize_size=72", "data.val_fraction=0.2")
    size = ("data.batch_size=32", "data.num_workers=1", "trainer.max_epochs=1", "scratch=false")
    outcome = command("kd-train", *networks, *data, *size, "callbacks.progress_bar=null")
    assert outcome.code == 0, outcome.errors
    summary = json.loads((outcome.run / "summary.json").read_text())
    assert summary["data"]["images"] == {"train": 128, "val": 32, "test": 80}
    assert summary["objective"]["fitnet"]["weight"] == 100
