"""Data modules that know nothing of this package, as `kd-train data={_target_: …}` takes them."""

import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from kd_lightning.data import DigitsDataModule
from tests.conftest import Command

HERE = __name__
SMALL = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "trainer.accelerator=cpu")
MODELS = tuple(
    f"{role}.model={{_target_: {HERE}.Network, width: {width}}}" for role, width in (("student", 4), ("teacher", 8))
)


class Network(nn.Sequential):
    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, num_classes))


class Points(lightning.LightningDataModule):
    """Points in five dimensions, on either side of a plane; `setup` wants its stage."""

    num_classes = 2

    def __init__(self, points: int = 64, shift: float = 0.0) -> None:
        super().__init__()
        self.points, self.shift = points, shift

    def setup(self, stage: str) -> None:
        inputs = torch.randn(self.points, 5, generator=torch.Generator().manual_seed(3)) + self.shift
        self.table = TensorDataset(inputs, (inputs.sum(1) > 0).long())

    def train_dataloader(self) -> Any:
        return DataLoader(self.table, 16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.table, 32)

    def test_dataloader(self) -> Any:
        return DataLoader(self.table, 32)


class Unvalidated(lightning.LightningDataModule):
    """Without validation, and without a word about classes."""

    setup = Points.setup
    train_dataloader, test_dataloader = Points.train_dataloader, Points.test_dataloader
    points, shift = 64, 0.0


class Endless(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Any:
        inputs = torch.randn(32, 5, generator=torch.Generator().manual_seed(3))
        return zip(inputs, (inputs.sum(1) > 0).long(), strict=True)


class Unsized(Points):
    """Nobody knows what its training loader holds."""

    def train_dataloader(self) -> Any:
        return DataLoader(Endless(), 16)


class Pictures(Points):
    """Images of one channel, normalised as their user likes."""

    def setup(self, stage: str) -> None:
        images = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
        self.table = TensorDataset(images, torch.arange(40) % 2)


class Streams(Points):
    def train_dataloader(self) -> Any:
        return {"labelled": DataLoader(self.table, 8, shuffle=True), "others": DataLoader(self.table.tensors[0], 16)}


class DigitStreams(DigitsDataModule):
    def train_dataloader(self) -> Any:
        return {"labelled": super().train_dataloader(), "others": super().train_dataloader()}


def data(kind: type, **arguments: Any) -> str:
    given = {"_target_": f"{HERE}.{kind.__name__}", **arguments}
    return f"data={{{', '.join(f'{name}: {value}' for name, value in given.items())}}}"


def summary(outcome: Any) -> dict[str, Any]:
    assert outcome.code == 0, outcome.errors
    return json.loads((outcome.run / "summary.json").read_text())  # type: ignore[no-any-return]


def test_it_trains_and_its_teacher_is_found_again_with_the_same_data_alone(command: Command, tmp_path: Path) -> None:
    own = (*SMALL, *MODELS, "scratch=false", f"paths.cache_dir={tmp_path / 'kept'}")
    first = command("kd-train", data(Points), *own)
    found = summary(first)["data"]
    assert found["name"] == "Points"
    assert found["images"] == {"train": 64, "val": 64, "test": 64}
    assert (found["num_classes"], found["classes"]) == (2, ["0", "1"])
    assert "Points" in first.output
    assert "found" in command("kd-train", data(Points), *own, "hydra.run.dir=again").output
    assert "training" in command("kd-train", data(Points, shift=0.5), *own, "hydra.run.dir=other").output


def test_without_validation_the_last_weights_count(command: Command) -> None:
    student = f"student.model={{_target_: {HERE}.Network, width: 4, num_classes: 2}}"
    outcome = command("kd-train", data(Unvalidated), *SMALL, student, "teacher=none", "task.num_classes=2")
    found = summary(outcome)
    assert (found["data"]["validates_on"], found["data"]["selected_checkpoint"]) == ("none", "last")
    assert found["data"]["images"] == {"train": 64, "test": 64}
    assert found["student"]["top1_validation"] is None
    assert "Last epoch" in outcome.output


def test_what_is_not_known_is_kept_for_the_run_alone(command: Command, tmp_path: Path) -> None:
    steps = "trainer.limit_train_batches=2"
    own = (data(Unsized), *SMALL, *MODELS, "scratch=false", steps, f"paths.cache_dir={tmp_path / 'kept'}")
    first = command("kd-train", *own, "hydra.run.dir=run")
    assert first.code == 0, first.errors
    told = " ".join(first.output.split())
    assert "what Unsized holds is not known (train_dataloader: its DataLoader has no length)" in told
    assert "give it a method fingerprint()" in told
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    assert "agreement" in again.output, "the run finds its own teacher"
    assert "training" in command("kd-train", *own, "hydra.run.dir=other").output


def test_networks_by_name_take_images_as_they_are_given(command: Command) -> None:
    found = summary(command("kd-train", data(Pictures), *SMALL, "student.model=digits_cnn_4", "teacher=none"))
    assert found["student"]["model"] == "digits_cnn_4"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            (data(Points), *MODELS, "student.model=resnet8"),
            ["student.model=resnet8: takes images", "Points", "input 5"],
        ),
        ((data(Points), *MODELS, "teacher.cache=logits"), ["teacher.cache=logits", "Points", "teacher.cache=off"]),
        (
            (data(DigitStreams), "teacher.cache=logits"),
            ["teacher.cache=logits", "labelled, others", "teacher.cache=off"],
        ),
        ((data(Unvalidated), *MODELS), ["num_classes", "class_names"]),
        (
            (data(Unvalidated), *MODELS, "task.num_classes=2", "callbacks=early_stopping"),
            ["callbacks.early_stopping", "val_dataloader"],
        ),
        ((data(Points), *MODELS, "method=crd"), ["loss.crd", "train."]),
        (
            (data(Points), *MODELS, "student.normalization={mean: [0.5], std: [0.5]}"),
            ["student.normalization", "images", "auto"],
        ),
        ((data(Streams), *MODELS, "loss.kd.stream=other"), ["loss.kd.stream=other", "did you mean others"]),
        ((data(Streams), *MODELS, "loss.ce.stream=others"), ["loss.ce.stream=others", "target"]),
        ((data(Points), *MODELS, "loss.kd.stream=others"), ["loss.kd.stream=others", "one alone"]),
        (("~data", "+data={_target_: builtins.dict}"), ["data._target_=builtins.dict", "LightningDataModule"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_it_cannot_do_is_one_line_and_nothing_is_written(
    command: Command, given: tuple[str, ...], words: list[str]
) -> None:
    outcome = command("kd-train", *SMALL, *given)
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert all(word in line for word in words), line
    assert not list(outcome.folder.iterdir())
