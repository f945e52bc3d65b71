"""A teacher that feeds each stage of a student: what learns from what, and what a joined student is."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, FitNet
from kd_lightning.models import create_model
from kd_lightning.models.projectors import Connector
from kd_lightning.sources import BlockwiseTeacher, FrozenNetwork

TAPS = {f"stage{number}": f"layer{number}" for number in (1, 2, 3)}
INTO_THE_NEXT = {"stage1": "layer2:input", "stage2": "layer3:input", "stage3": "layer3"}
SHAPES = {
    tap: ((4 * 2**place, 8 >> place, 8 >> place), (8 * 2**place, 8 >> place, 8 >> place))
    for place, tap in enumerate(TAPS)
}


def terms() -> dict[str, Term]:
    found = {tap: Term(FitNet(), [f"student.{tap}", f"teacher.{tap}"], projector=Connector) for tap in TAPS}
    found |= {f"given_{tap}": Term(FitNet(), [f"teacher.given_{tap}", f"student.{tap}.detached"]) for tap in TAPS}
    return {**found, "ce": Term(CrossEntropy(), ["student.logits", "target"])}


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"input": torch.randn(8, 1, 8, 8), "target": torch.arange(8)}


def module_of(batch: dict[str, Tensor], taps: dict[str, str] = TAPS) -> DistillationModule:
    torch.manual_seed(0)
    student = create_model("digits_cnn_4", num_classes=10, in_channels=1)
    teacher = FrozenNetwork(create_model("digits_cnn_8", num_classes=10, in_channels=1), TAPS)
    source = BlockwiseTeacher(teacher, SHAPES)
    return DistillationModule(student, source, terms(), student_taps=taps, example_input=batch["input"], num_classes=10)


def test_each_term_reaches_its_own_stage_alone(batch: dict[str, Tensor]) -> None:
    module = module_of(batch)
    value = module.objective(module.signals(batch))
    for name, raw in value.raw.items():
        reached = set()
        named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        gradients = torch.autograd.grad(raw, [*named.values()], retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(named, gradients, strict=True):
            if gradient is not None and bool(gradient.abs().sum() > 0):
                reached.add(".".join(parameter.split(".")[:3]))
        own = {
            "ce": {"student.fc.weight", "student.fc.bias"},
            **{tap: {f"student.{layer}.{part}" for part in (0, 1)} for tap, layer in TAPS.items()},
        }
        if name.startswith("given_"):
            assert reached == {f"teacher.projections.{name.removeprefix('given_')}"}
        else:
            assert {one for one in reached if one.startswith("student")} == own[name]
            assert not any(one.startswith("teacher") for one in reached)


@pytest.mark.parametrize("taps", [TAPS, INTO_THE_NEXT])
def test_a_stage_gets_what_the_teachers_gave(batch: dict[str, Tensor], taps: dict[str, str]) -> None:
    """Layer by layer: the student's on the projected map of the teacher's, whichever side of it the tap is on."""
    module = module_of(batch, taps)
    student, teacher = module.student, module.teacher
    assert isinstance(teacher, BlockwiseTeacher)
    alone, projections = copy.deepcopy(student), copy.deepcopy(teacher.projections)
    signals = module.signals(batch)
    x = batch["input"]
    t: Tensor = batch["input"]
    network = teacher.source.network
    with torch.no_grad():
        for tap, layer in TAPS.items():
            torch.testing.assert_close(signals[f"student.{tap}"], alone.get_submodule(layer)(x))
            t = network.get_submodule(layer)(t)
            torch.testing.assert_close(signals[f"teacher.{tap}"], t)
            x = projections[tap](t)
            torch.testing.assert_close(signals[f"teacher.given_{tap}"], x)
        torch.testing.assert_close(signals["student.logits"], alone.fc(x.mean(dim=(2, 3))))


def test_outside_of_training_steps_the_student_is_joined(batch: dict[str, Tensor]) -> None:
    module = module_of(batch)
    alone = copy.deepcopy(module.student).eval()
    module.signals(batch)
    module.eval()
    for one in (module, module.student):
        torch.testing.assert_close(one(batch["input"]), copy.deepcopy(module.student)(batch["input"]))
    assert not torch.equal(alone(batch["input"]), module(batch["input"])), "a step moved the statistics"
    assert module.teacher is not None
    module.teacher.close()
    assert not any(layer._forward_hooks for layer in (*module.student.layer1.children(),))


def test_projectors_alone_are_in_checkpoints(batch: dict[str, Tensor]) -> None:
    teacher = {name for name in module_of(batch).state_dict() if name.startswith("teacher.")}
    assert teacher
    assert all(name.startswith("teacher.projections.") for name in teacher)


def test_what_is_read_in_parts_cannot_be_replaced(batch: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"student_taps.stage1=layer1:mean: cannot be replaced by what another network"):
        module_of(batch, {**TAPS, "stage1": "layer1:mean"})


class ChannelsLast(nn.Module):
    """Two stages whose maps are (B, H, W, C), as Swin's and ConvNeXt's are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(x.permute(0, 2, 3, 1))).mean(dim=(1, 2)))


def test_a_map_in_another_layout_is_given_as_the_student_has_it() -> None:
    images, taps = torch.randn(2, 3, 4, 4), {"stage1": "first:nhwc", "stage2": "second:nhwc"}
    student, teacher = ChannelsLast(), ChannelsLast()
    source = BlockwiseTeacher(FrozenNetwork(teacher, taps), dict.fromkeys(taps, ((6, 4, 4), (6, 4, 4))))
    terms = {tap: Term(FitNet(), [f"student.{tap}", f"teacher.{tap}"]) for tap in taps}
    module = DistillationModule(student, source, terms, student_taps=taps)
    signals = module.signals({"input": images})
    first = teacher.first(images.permute(0, 2, 3, 1))
    torch.testing.assert_close(signals["student.stage2"], student.second(first).permute(0, 3, 1, 2))
    torch.testing.assert_close(signals["student.logits"], student.fc(teacher.second(first).mean(dim=(1, 2))))
