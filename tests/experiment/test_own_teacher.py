"""A teacher of the user's own: each network in it gets its images normalised as it was trained, and no other twice."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torchvision import transforms

from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.experiment import experiment_of
from kd_lightning.models import create_model, load_weights, normalize_inputs, stored_normalization
from kd_lightning.models.normalization import note_training
from kd_lightning.sources import FrozenNetwork, FrozenSource
from kd_lightning.training.measuring import measure_alone
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.test_train import summary

SHORT = ("trainer.max_epochs=8", "callbacks.progress_bar=null")


class Mean(FrozenSource):
    """The mean probability of several networks, from their files."""

    signals = ["logits"]  # noqa: RUF012

    def __init__(self, files: Sequence[str], hidden: bool = False) -> None:
        super().__init__()
        networks = [create_model("digits_cnn_8", 10, 1) for _ in files]
        for network, file in zip(networks, files, strict=True):
            load_weights(network, file)
        self.networks = networks if hidden else nn.ModuleList(networks)
        self.freeze()

    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        each = [network.eval()(batch["input"]).softmax(dim=1) for network in self.networks]
        return {"logits": torch.stack(each).mean(0).log()}

    def identity(self) -> dict[str, Any]:
        return {"model": "mean"}


def trained(command: Command, name: str, seed: int, statistics: str) -> dict[str, Any]:
    """The test results of a network whose weights are then in its run's folder."""
    options = (f"seed={seed}", f"student.normalization={statistics}", f"hydra.run.dir={name}")
    outcome = command("kd-train", *SHORT, "teacher=none", "student.model=digits_cnn_8", *options)
    assert outcome.code == 0, outcome.errors
    return summary(outcome.folder / name)["student"]  # type: ignore[no-any-return]


def test_an_ensemble_is_as_good_as_its_members(command: Command, tmp_path: Path) -> None:
    alone = {
        "a": trained(command, "a", 0, "{mean: [0.3], std: [0.4]}"),
        "b": trained(command, "b", 1, "{mean: [0.9], std: [0.2]}"),
    }
    files = {name: str(tmp_path / name / "student.safetensors") for name in alone}
    teacher = f"+teacher={{_target_: tests.experiment.test_own_teacher.Mean, files: [{files['a']}, {files['b']}]}}"
    outcome = command("kd-train", *SHORT[:2], "scratch=false", "~teacher", teacher, "hydra.run.dir=taught")
    assert outcome.code == 0, outcome.errors
    assert "2 networks get their images normalised" in outcome.output
    together = summary(tmp_path / "taught")["teacher"]
    lowest = min(member["top1"] for member in alone.values())
    assert together["top1"] > lowest > 0.5
    assert command("kd-eval", "run=taught").code == 0
    for name, hidden in (("a", False), ("b", False), ("b", True)):
        config, data = with_teacher(
            f"{{_target_: tests.experiment.test_own_teacher.Mean, files: [{files[name]}], hidden: {hidden}}}"
        )
        experiment = experiment_of(config, data)
        context = experiment.parts.context
        measured = measure_alone(experiment.teacher.build(context), context).test
        assert measured["top1"] == alone[name]["top1"]
        assert measured["nll"] == pytest.approx(alone[name]["nll"], rel=1e-3)


def with_teacher(teacher: str) -> tuple[DictConfig, ImageDataModule]:
    config = composed("~teacher", f"+teacher={teacher}")
    return config, instantiate(config.data)


class Given(FrozenSource):
    """Answers with a function of the images and of its networks."""

    signals = ["logits"]  # noqa: RUF012

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = create_model("digits_cnn_8", 10, 1), create_model("digits_cnn_4", 10, 1)
        self.way = way
        if way == "own_hook":
            normalize_inputs(self.first, [0.1], [0.2])
        elif way == "own_layer":
            self.wrapped = nn.Sequential(transforms.Normalize([0.1], [0.2]), self.first)
        elif way == "frozen":
            self.behind = FrozenNetwork(self.first)
        elif way == "wrapper":
            note_training(self.second, ([0.7], [0.9]))
            self.both = Both(self.first, self.second)
        elif way == "parts":
            self.stem, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)
        self.freeze()

    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": WAYS[self.way](self, batch["input"])}

    def identity(self) -> dict[str, Any]:
        return {"model": self.way}


class Both(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        return self.first(images) + self.second(images)


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "plain": lambda own, x: own.first(x),
    "mirrored": lambda own, x: own.first(x) + own.first(x.flip(-1)),
    "enlarged": lambda own, x: own.first(F.interpolate(x, size=(20, 20), mode="bicubic", antialias=True)),
    "frozen": lambda own, x: own.behind({"input": x})["logits"],
    "wrapper": lambda own, x: own.both(x),
    "own_hook": lambda own, x: own.first(x),
    "own_layer": lambda own, x: own.wrapped(x),
    "own_arithmetic": lambda own, x: own.first((x - 0.3) / 0.4),
    "own_scale": lambda own, x: own.first(2 * x - 1),
    "in_bytes": lambda own, x: own.first(x * 255),
    "parts": lambda own, x: own.head(own.stem(x).relu().mean((2, 3))),
    "none": lambda own, x: x.mean((1, 2, 3))[:, None].expand(-1, 10),
}


@pytest.mark.parametrize(
    ("way", "normalised"),
    [
        ("plain", {"first": (0.305, 0.3757)}),
        ("mirrored", {"first": (0.305, 0.3757)}),
        ("enlarged", {"first": (0.305, 0.3757)}),
        ("frozen", {"first": (0.305, 0.3757)}),
        ("wrapper", {"first": (0.305, 0.3757), "second": (0.7, 0.9)}),
        ("parts", {"stem": (0.305, 0.3757)}),
        ("own_hook", {"first": (0.1, 0.2)}),
        ("own_layer", {}),
        ("own_arithmetic", {}),
        ("own_scale", {}),
        ("in_bytes", {}),
        ("none", {}),
    ],
)
def test_only_what_gets_images_as_they_are_is_normalised(way: str, normalised: dict[str, tuple[float, float]]) -> None:
    config, data = with_teacher(f"{{_target_: tests.experiment.test_own_teacher.Given, way: {way}}}")
    experiment = experiment_of(config, data)
    teacher = experiment.teacher.build(experiment.parts.context)
    stored = {name: stored_normalization(module) for name, module in teacher.named_children()}
    expected = {name: {"mean": [mean], "std": [std]} for name, (mean, std) in normalised.items()}
    found = {
        name: {key: pytest.approx(json.loads(value), rel=1e-6) for key, value in each.items()}
        for name, each in stored.items()
        if each
    }
    assert found == expected
    images = torch.rand(4, 1, 8, 8)
    plain = Given(way)
    plain.request({"input": {"logits"}})
    if set(normalised) == {"first"} and way != "own_hook":
        assert not torch.allclose(teacher({"input": images})["logits"], plain({"input": images})["logits"])
        own = {"plain": 1, "frozen": 1}
        if way in own:
            expected_logits = plain({"input": (images - 0.305) / 0.3757})["logits"]
            torch.testing.assert_close(teacher({"input": images})["logits"], expected_logits, rtol=1e-4, atol=1e-5)
    elif not normalised:
        torch.testing.assert_close(teacher({"input": images})["logits"], plain({"input": images})["logits"])


class Failing(Given):
    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise KeyError("nothing")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "{_target_: tests.experiment.test_own_teacher.Failing, way: plain}",
            "cannot answer a batch of images (KeyError: ",
        ),
        ("{_target_: torch.nn.Linear, in_features: 8, out_features: 8}", "built Linear, not a kd_lightning.sources"),
    ],
)
def test_what_is_no_teacher_is_told(target: str, words: str) -> None:
    config, data = with_teacher(target)
    experiment = experiment_of(config, data)
    with pytest.raises(UserError) as error:
        experiment.teacher.build(experiment.parts.context)
    assert str(error.value).startswith("teacher._target_=")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


class OfBatches(Given):
    """A teacher that says itself whose statistics it normalises by."""

    batch_statistics = False


class TakesThem(Given):
    """One whose constructor takes them."""

    def __init__(self, way: str, batch_statistics: bool = False) -> None:
        super().__init__(way)
        self.batch_statistics = batch_statistics


@pytest.mark.parametrize("kind", [OfBatches, TakesThem])
def test_the_statistics_that_a_method_sets_reach_a_teacher_that_has_them(kind: type) -> None:
    target = f"{{_target_: tests.experiment.test_own_teacher.{kind.__name__}, way: plain}}"
    for method, expected in (("ofd", True), ("kd", False)):
        config = composed(f"method={method}", f"teacher={target}")
        experiment = experiment_of(config)
        teacher = experiment.teacher.build(experiment.parts.context)
        assert isinstance(teacher, kind)
        assert teacher.batch_statistics is expected  # type: ignore[attr-defined]


def test_a_teacher_that_has_none_is_refused_and_told_how_to_be_taken(command: Command) -> None:
    teacher = "teacher={_target_: tests.experiment.test_own_teacher.Given, way: plain}"
    run = ("kd-train", "method=ofd", teacher, "trainer.max_epochs=1")
    (line,) = command(*run).error_lines
    assert line.startswith("error: teacher.batch_statistics=true: Given takes no such argument; ~teacher.batch_stat")
    config = composed("method=ofd", teacher, "~teacher.batch_statistics")
    experiment = experiment_of(config)
    assert experiment.teacher.build(experiment.parts.context) is not None


def test_a_student_is_a_network(command: Command) -> None:
    (line,) = command("kd-train", "student={_target_: torch.nn.Linear, in_features: 8, out_features: 8}").error_lines
    assert line.startswith("error: student._target_=torch.nn.Linear: a student is a network")
    assert "student.model={_target_: torch.nn.Linear}" in line
