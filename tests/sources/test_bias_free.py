"""CAT-KD's student: its classifier has no bias; it is trained, kept, tested, and teaches like any other."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models import create_model, load_weights, save_weights
from kd_lightning.sources import bias_free_classifier
from kd_lightning.taps import TapReader, find_inner_taps
from tests.cli.test_configs import composed
from tests.conftest import Command

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TINY = ("callbacks.progress_bar=null", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "scratch=false")


def without_bias(name: str, classes: int = 10, initialization: str = "he") -> nn.Module:
    return bias_free_classifier(create_model(name, classes), None, IMAGES, initialization)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2"])
def test_its_logits_are_the_means_of_its_class_activation_maps(name: str) -> None:
    model = without_bias(name).eval()
    taps = find_inner_taps(model, IMAGES)
    assert "classifier_bias" not in taps
    values = TapReader(model, {"logits": "", **taps})(IMAGES)
    maps = F.conv2d(values["final"], values["classifier_weight"][:, :, None, None])
    torch.testing.assert_close(values["logits"], maps.mean((2, 3)))
    plain = create_model(name, 10)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters()) - 10
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("teacher", "student", "deviation"),
    [
        ("resnet56", "resnet20", 0.1414),
        ("vgg13", "MobileNetV2", 0.1414),
        ("vgg13", "vgg8", 0.0255),
        ("resnet32x4", "ShuffleV1", 1 / (3 * 960) ** 0.5),
        ("wrn_40_2", "ShuffleV1", 1 / (3 * 960) ** 0.5),
        ("resnet32x4", "ShuffleV2", 1 / (3 * 1024) ** 0.5),
    ],
)
def test_it_starts_as_the_authors_does(teacher: str, student: str, deviation: float) -> None:
    adapt = composed(f"experiment=cifar100/{teacher}_{student}", "method=catkd").student.adapt
    model = without_bias(student, 100, adapt.initialization)
    weight = TapReader(model, find_inner_taps(model, IMAGES))(IMAGES)["classifier_weight"]
    assert weight.std().item() == pytest.approx(deviation, rel=0.03)


def test_a_convolution_stays_one() -> None:
    class Convolutional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 10, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).relu().mean((2, 3), keepdim=True)).flatten(1)

    model = bias_free_classifier(Convolutional(), None, IMAGES)
    assert model.head.weight.shape == (10, 8, 1, 1)  # type: ignore[union-attr]
    assert model.head.bias is None


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"^student=Flatten: has no linear classifier.*leave it as it is"):
        bias_free_classifier(nn.Flatten(), None, IMAGES)
    with pytest.raises(UserError, match=r"^initialization=zero: must be he or torch"):
        without_bias("resnet8", initialization="zero")


def test_one_run_trains_keeps_and_tests_it_and_another_learns_from_it(command: Command) -> None:
    pair = ("student.model=resnet8", "teacher.model=resnet8", "teacher.weights=null")
    outcome = command("kd-train", "method=catkd", *pair, *TINY, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    kept = load_file(outcome.folder / "run" / "student.safetensors")
    assert "fc.weight" in kept
    assert "fc.bias" not in kept
    top1 = json.loads((outcome.folder / "run" / "summary.json").read_text())["student"]["top1"]
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    assert f"{100 * top1:.2f}" in again.output
    learns = ("kd-train", "student.model=digits_cnn_4", "teacher.model=resnet8", *TINY)
    taught = command(*learns, "teacher.weights=run/student.safetensors", "hydra.run.dir=taught")
    assert taught.code == 0, taught.errors
    assert "has no fc.bias" in taught.output
    summary = json.loads((outcome.folder / "taught" / "summary.json").read_text())
    assert summary["teacher"]["top1"] == pytest.approx(top1)


def test_only_a_classifiers_bias_may_be_absent(tmp_path: Path) -> None:
    model, plain = without_bias("vgg8"), create_model("vgg8", 10)
    save_weights(model, tmp_path / "student.safetensors")
    load_weights(plain, tmp_path / "student.safetensors")
    assert torch.equal(plain.classifier.bias, torch.zeros(10))
    torch.testing.assert_close(plain.eval()(IMAGES), model.eval()(IMAGES))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "student.ckpt")
    load_weights(create_model("vgg8", 10), tmp_path / "student.ckpt")
    for more in ("block0.0.bias", "block4.1.bias", "classifier.weight"):
        state = {name: value for name, value in model.state_dict().items() if name != more}
        torch.save(state, tmp_path / "damaged.pth")
        with pytest.raises(UserError, match="missing"):
            load_weights(create_model("vgg8", 10), tmp_path / "damaged.pth")
