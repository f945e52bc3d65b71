"""Networks that share anything with the teacher, or are it, are refused where the module is made."""

import copy
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import SoftTarget
from kd_lightning.models.projectors import Regressor
from kd_lightning.sources import FrozenNetwork, FrozenSource

KD = {"kd": Term(SoftTarget(4), ["student.logits", "teacher.logits"])}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.1), nn.Linear(5, 3))


class Mean(FrozenSource):
    """A teacher of one's own, of several networks, in a list that PyTorch sees or in a plain one."""

    def __init__(self, networks: list[nn.Module], seen: bool) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks) if seen else networks
        self.signals = ["logits"]
        self.freeze()

    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": torch.stack([one(batch["input"]) for one in self.networks]).mean(0)}

    def identity(self) -> dict[str, Any]:
        return {"model": "mean"}


def with_part(path: str, part: nn.Module) -> nn.Sequential:
    other = network()
    other.set_submodule(path, part)
    return other


def tied(student: nn.Sequential) -> nn.Sequential:
    other = network()
    other[4].weight = student[4].weight
    return other


def one_memory(student: nn.Sequential) -> nn.Sequential:
    other = network()
    other[0].weight = nn.Parameter(student[0].weight.detach())
    return other


def one_buffer(student: nn.Sequential) -> nn.Sequential:
    other = network()
    other[1].running_mean = student[1].running_mean
    return other


SHARING: dict[str, tuple[Callable[[nn.Sequential], nn.Module], str]] = {
    "itself": (lambda s: s, "teacher=Sequential: is the student itself"),
    "a layer": (lambda s: with_part("0", s[0]), "teacher=Sequential: shares 0 with the student"),
    "a dropout": (lambda s: with_part("3", s[3]), "teacher=Sequential: shares 3 with the student"),
    "a part": (lambda s: s[:2], "teacher=Sequential: shares 0 with the student"),
    "around it": (lambda s: nn.Sequential(s, nn.Identity()), "teacher=Sequential: shares Sequential with the student"),
    "a weight": (tied, "teacher=Sequential: shares 4.weight with the student"),
    "memory": (one_memory, "teacher=Sequential: shares 0.weight with the student"),
    "a buffer": (one_buffer, "teacher=Sequential: shares 1.running_mean with the student"),
    "in a FrozenNetwork": (FrozenNetwork, "teacher=FrozenNetwork: shares Sequential with the student"),
    "in a mean": (lambda s: Mean([network(), s], seen=True), "teacher=Mean: shares Sequential with the student"),
    "in a plain list": (lambda s: Mean([network(), s], seen=False), "teacher=Sequential: is the student itself"),
    "a part in a mean": (lambda s: Mean([network(), tied(s)], seen=True), "teacher=Mean: shares 4.weight with"),
}


@pytest.mark.parametrize("name", SHARING)
def test_a_teacher_that_shares_with_the_student_is_refused(name: str) -> None:
    make, message = SHARING[name]
    student = network()
    teacher = make(student)
    with pytest.raises(UserError, match=f"^{re.escape(message)}.*; give a copy, as copy.deepcopy"):
        DistillationModule(student, teacher, KD)


def test_a_copy_teaches() -> None:
    student = network()
    module = DistillationModule(student, copy.deepcopy(student), KD)
    total = module.objective(module.signals({"input": torch.randn(4, 6)})).total
    total.backward()
    assert student[0].weight.grad is not None


def test_a_layer_without_state_or_mode_may_be_shared() -> None:
    """As where it is the default of an argument, `act=nn.ReLU()`."""
    student = network()
    DistillationModule(student, with_part("2", student[2]), KD)


class Holding(nn.Module):
    """A loss that holds a network."""

    def __init__(self, held: nn.Module) -> None:
        super().__init__()
        self.held = held

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean() + 0 * sum(p.sum() for p in self.held.parameters())


@pytest.mark.parametrize("whose", ["student", "teacher"])
@pytest.mark.parametrize("part", ["whole", "layer"])
def test_a_loss_that_holds_a_network_is_refused(whose: str, part: str) -> None:
    networks = {"student": network(), "teacher": network()}
    held = networks[whose] if part == "whole" else networks[whose][4]
    terms = {"own": Term(Holding(held), ["student.logits", "teacher.logits"])}
    with pytest.raises(UserError, match=rf"^terms\.own\.loss=Holding: shares \S+ with the {whose}; give a copy"):
        DistillationModule(**networks, terms=terms)


class Difficulty(Holding):
    """A sample weight that holds a network."""

    signals = ("student.logits",)

    def forward(self, signals: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        return signals["student.logits"].detach().amax(dim=1)


@pytest.mark.parametrize("whose", ["student", "teacher"])
@pytest.mark.parametrize("part", ["whole", "layer"])
def test_a_sample_weight_that_holds_a_network_is_refused(whose: str, part: str) -> None:
    networks = {"student": network(), "teacher": network()}
    held = networks[whose] if part == "whole" else networks[whose][4]
    both = ["student.logits", "teacher.logits"]
    terms = {"own": Term(SoftTarget(), both, sample_weight=Difficulty(held))}
    with pytest.raises(UserError, match=rf"^terms\.own\.sample_weight=Difficulty: shares \S+ with the {whose}; give a"):
        DistillationModule(**networks, terms=terms)
    terms = {"own": Term(SoftTarget(), both, sample_weight=Difficulty(network().requires_grad_(False)))}
    assert DistillationModule(**networks, terms=terms)


def test_a_loss_may_hold_a_network_that_does_not_learn() -> None:
    teacher = network()
    terms = {"own": Term(Holding(teacher[4].requires_grad_(False)), ["student.logits", "teacher.logits"])}
    module = DistillationModule(network(), teacher, terms)
    assert not [p for p in module.objective.parameters() if p.requires_grad]


def always(module: nn.Module, source: Any, to: Any) -> nn.Module:
    return module


@pytest.mark.parametrize("kind", ["partial", "function"])
def test_a_projector_that_is_a_part_of_the_student_is_refused(kind: str) -> None:
    student = network()
    projector = partial(always, student[4]) if kind == "partial" else lambda source, to: student[4]
    terms = {"own": Term(SoftTarget(), ["student.hidden", "teacher.logits"], 1.0, projector)}
    with pytest.raises(UserError, match=r"shares .* with the student; give a copy|is the student"):
        DistillationModule(student, network(), terms, student_taps={"hidden": "2"}, example_input=torch.randn(4, 6))


def test_a_projector_of_its_own_is_fine() -> None:
    terms = {"own": Term(SoftTarget(), ["student.logits", "teacher.logits"], 1.0, partial(Regressor))}
    assert DistillationModule(network(), network(), terms, example_input=torch.randn(4, 6))
