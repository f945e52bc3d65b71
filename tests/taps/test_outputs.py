"""Which of a network's outputs are its logits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from kd_lightning import DistillationModule
from kd_lightning.errors import UserError
from kd_lightning.taps import TapReader, find_taps
from tests.conftest import Command


class Named(NamedTuple):
    features: Tensor
    logits: Tensor


@dataclass
class Answer:
    features: Tensor
    logits: Tensor
    loss: Tensor | None = None


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "a list of one": lambda x: [x],
    "a mapping of one": lambda x: {"out": x},
    "a mapping with logits": lambda x: {"other": x + 1, "logits": x},
    "a named tuple with logits": lambda x: Named(x + 1, x),
    "a data class with logits": lambda x: Answer(x + 1, x),
    "maps, then logits": lambda x: ([x[:, :, None, None], x[:, :, None, None] + 1], x),
    "logits, then a map": lambda x: (x, x[:, :, None, None] + 1),
    "features of another width": lambda x: (torch.cat([x, x], 1), x),
    "logits before such features": lambda x: (x, torch.cat([x, x], 1), None),
}
AMBIGUOUS: dict[str, Callable[[Tensor], Any]] = {
    "two rows": lambda x: (x + 1, x),
    "two rows in a mapping": lambda x: {"features": x + 1, "scores": x},
    "two maps": lambda x: [x[:, :, None, None], x[:, :, None, None]],
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_models_output_may_be_a_tuple_a_list_or_a_mapping(output: str) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return OUTPUTS[output](x)

    x = torch.randn(2, 3)
    assert torch.equal(TapReader(Odd(), {"logits": ""}, num_classes=3)(x)["logits"], x)


@pytest.mark.parametrize("output", AMBIGUOUS)
@pytest.mark.parametrize("classes", [None, 3, 4])
def test_of_several_outputs_that_fit_none_is_guessed(output: str, classes: int | None) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Any:
            return AMBIGUOUS[output](self.head(x))

    several = r"Odd gives several outputs, .*\(2, 3.*\{logits: head\}"
    with pytest.raises(UserError, match=rf"^student_taps\.logits=: {several}"):
        TapReader(Odd(), {"logits": ""}, "student", classes)(torch.randn(2, 3))
    with pytest.raises(UserError, match=rf"^taps\.logits=: {several}"):
        find_taps(Odd(), torch.randn(2, 3), num_classes=classes)
    assert find_taps(Odd(), torch.randn(2, 3), "head")["pooled"] == "head:input"


def test_a_network_without_a_tensor_has_no_logits() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> tuple[()]:
            return ()

    with pytest.raises(UserError, match=r"^taps\.logits=: Silent returns tuple, not a tensor"):
        TapReader(Silent(), {"logits": ""})(torch.randn(2, 3))


def test_known_heads_need_no_name() -> None:
    """A distilled DeiT that trains its heads apart, and torchvision's auxiliary classifiers while they train."""
    deit = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, num_classes=3, depth=1)
    images = torch.randn(2, 3, 32, 32)
    deit.set_distilled_training(True)
    reader = TapReader(deit.train(), {"logits": "", "distilled": "head_dist"}, num_classes=3)
    assert not torch.equal(*reader(images).values())
    googlenet = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False).train()
    seen = TapReader(googlenet, {"logits": "", "fc": "fc"})(torch.randn(2, 3, 224, 224))
    assert torch.equal(seen["logits"], seen["fc"])


TWO = """
from torch import nn

class Two(nn.Module):
    def __init__(self, width, num_classes=10):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, width, 3), nn.Linear(width, num_classes)

    def forward(self, x):
        features = self.conv(x).relu().mean((2, 3))
        return features, self.fc(features)
"""
QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.accelerator=cpu", "logger=csv")


OWN_TEACHER = """
import torch

from kd_lightning.sources import FrozenSource

class Constant(FrozenSource):
    signals = ["logits"]

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.freeze()

    def answer(self, batch):
        return {"logits": torch.zeros(len(batch["input"]), *self.shape)}

    def identity(self):
        return {"model": "constant"}
"""


@pytest.mark.parametrize(
    ("shape", "words"),
    [("[5]", "take a teacher that knows the student's classes"), ("[10,4,4]", "a loss on logits takes (N, C)")],
)
def test_a_teacher_of_ones_own_that_is_no_classifier_of_these_is_refused_first(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, words: str
) -> None:
    (tmp_path / "constant_teacher.py").write_text(OWN_TEACHER)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = command(
        "kd-train", *QUICK, "~teacher", f"+teacher={{_target_: constant_teacher.Constant, shape: {shape}}}"
    )
    assert outcome.code == 2
    assert words in outcome.error_lines[0]
    assert not list(tmp_path.glob("outputs/*/*/checkpoints"))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gives_two.py").write_text(TWO)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def model(width: int) -> str:
    return f"{{_target_: gives_two.Two, width: {width}}}"


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_run_refuses_to_guess_and_names_the_key(command: Command, two: Path, role: str) -> None:
    outcome = command("kd-train", *QUICK, f"{role}.model={model(10)}")
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert f"{role}.taps.logits" in line
    assert "several outputs, [0] (2, 10), [1] (2, 10)" in line
    assert "{logits: fc}" in line


def test_a_run_trains_the_logits_that_are_named_in_all_its_networks(command: Command, two: Path) -> None:
    names = ("student.taps={logits: fc}", "teacher.taps={logits: fc}")
    outcome = command("kd-train", *QUICK, f"student.model={model(10)}", f"teacher.model={model(10)}", *names)
    assert outcome.code == 0, outcome.errors
    stored = torch.load(outcome.run / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(stored["optimizer_states"][0]["state"]) == 4
    again = command("kd-eval", f"run={outcome.run}")
    assert again.code == 0, again.errors


def test_the_one_output_with_the_datas_classes_needs_no_name(command: Command, two: Path) -> None:
    outcome = command("kd-train", *QUICK, "teacher=none", f"student.model={model(6)}")
    assert outcome.code == 0, outcome.errors
    stored = torch.load(outcome.run / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(stored["optimizer_states"][0]["state"]) == 4


def test_the_library_names_its_own_argument() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.fc = nn.Linear(5, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            features = self.body(x)
            return features, self.fc(features)

    x = torch.randn(2, 5)
    with pytest.raises(UserError, match=r"^student_taps\.logits=: Two gives several outputs"):
        DistillationModule(Two())(x)
    module = DistillationModule(Two(), student_taps={"logits": "fc"})
    torch.testing.assert_close(module(x), module.student(x)[1])
