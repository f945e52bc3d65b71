"""SimKD's student: its layers, a projector, and the teacher's classifier; all of it counts, is kept and tested."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models import create_model
from kd_lightning.models.profile import profile_models
from kd_lightning.sources import ReusedClassifier
from kd_lightning.taps import TapReader, find_inner_taps, find_taps
from tests.conftest import Command

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
PAIR = ("student.model=resnet8", "teacher.model=wrn_16_1", "teacher.weights=null", "scratch=false")


def around(student: str, teacher: str) -> tuple[ReusedClassifier, nn.Module]:
    made = create_model(teacher, 10)
    return ReusedClassifier(create_model(student, 10), made, IMAGES), made


@pytest.mark.parametrize(
    ("student", "teacher"),
    [("resnet8", "resnet8x4"), ("resnet8x4", "resnet20"), ("vgg8", "wrn_16_2"), ("wrn_16_1", "vgg8"),
     ("MobileNetV2", "vgg8"), ("ShuffleV2", "ResNet50")],
)  # fmt: skip
def test_its_taps_are_found_and_every_parameter_but_the_classifiers_is_trained(student: str, teacher: str) -> None:
    model, made = around(student, teacher)
    final = TapReader(made, find_inner_taps(made, IMAGES))(IMAGES)["final"]
    taps = {**find_taps(model, IMAGES), **find_inner_taps(model, IMAGES)}
    values = TapReader(model, taps)(IMAGES)
    assert values["projected"].shape[1] == final.shape[1]
    assert values["projected"].shape[2] <= final.shape[2]
    torch.testing.assert_close(values["pooled"], values["projected"].mean((2, 3)))
    values["projected"].square().sum().backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"classifier.weight", "classifier.bias"}


def test_what_the_student_had_behind_its_last_map_is_gone_and_what_it_took_over_counts() -> None:
    model, teacher = around("resnet8", "resnet8x4")
    plain = create_model("resnet8", 10)
    backbone = sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in plain.fc.parameters())
    taken = sum(p.numel() for part in (model.projector, teacher.fc) for p in part.parameters())
    costs = profile_models({"adapted": model, "plain": plain}, IMAGES, repeats=1)
    assert costs["adapted"].params == backbone + taken
    assert costs["adapted"].flops > costs["plain"].flops


def test_with_the_teachers_map_it_gives_the_teachers_logits() -> None:
    model, teacher = around("resnet8x4", "resnet8x4")
    model.eval(), teacher.eval()
    final = TapReader(teacher, {"final": "layer3"})(IMAGES)["final"]
    model.projector = nn.Identity()
    model._read = lambda images: {"stage": final}  # type: ignore[assignment,method-assign]
    torch.testing.assert_close(model(IMAGES), teacher(IMAGES))


@pytest.mark.parametrize(("student", "channels"), [("MobileNetV2", 160), ("ShuffleV2", 464), ("wrn_16_2", 128)])
def test_the_student_is_cut_behind_its_last_stage(student: str, channels: int) -> None:
    model, _ = around(student, "resnet8x4")
    first = next(part for part in model.projector.modules() if isinstance(part, nn.Conv2d))
    assert first.in_channels == channels


def test_the_teacher_is_not_touched() -> None:
    teacher = create_model("resnet8x4", 10)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    model = ReusedClassifier(create_model("resnet8", 10), teacher, IMAGES)
    model.classifier.weight.data.zero_()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert teacher.fc.weight.requires_grad


def test_what_was_frozen_in_the_student_stays_frozen() -> None:
    student = create_model("resnet8", 10)
    student.conv1.requires_grad_(False)
    model = ReusedClassifier(student, create_model("resnet8x4", 10), IMAGES)
    assert not model.backbone.conv1.weight.requires_grad
    assert model.backbone.layer1[0].conv1.weight.requires_grad


def test_a_network_without_a_last_map_is_refused() -> None:
    with pytest.raises(UserError, match=r"^teacher=Sequential: has no map"):
        ReusedClassifier(create_model("resnet8", 10), nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), IMAGES)


def test_one_command_trains_keeps_and_tests_it(command: Command) -> None:
    outcome = command(
        "kd-train", "method=simkd", *PAIR, "trainer.max_epochs=2", "data.train_samples=128", "hydra.run.dir=run"
    )
    assert outcome.code == 0, outcome.errors
    run: Path = outcome.folder / "run"
    summary = json.loads((run / "summary.json").read_text())
    kept = load_file(run / "student.safetensors")
    assert {"classifier.weight", "projector.transfer.0.weight"} & set(kept)
    assert "backbone.fc.weight" not in kept
    weights = [value for name, value in kept.items() if "running" not in name and "num_batches" not in name]
    assert summary["student"]["params"] == sum(value.numel() for value in weights)
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    shown = f"{100 * summary['student']['top1']:.2f}"
    row = next(line for line in again.output.splitlines() if "top-1" in line)
    assert row.split()[-2:] == [shown, shown]


def test_a_teacher_of_several_networks_cannot_be_taken_over(command: Command) -> None:
    outcome = command("kd-train", "method=simkd", "teacher=none", "student.model=resnet8")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
