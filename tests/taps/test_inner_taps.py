"""Taps inside and around the stages: before the activation, its normalisation, the last map, parameters."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models import create_model
from kd_lightning.taps import TapReader, find_inner_taps, find_taps, shapes_of, tap_values

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
POST_ACTIVATION = ["resnet8x4", "resnet20", "vgg8", "ShuffleV1", "ResNet50"]


def read(name: str) -> tuple[nn.Module, dict[str, str], dict[str, Tensor]]:
    """A model in eval mode and float64, its inner taps, and the values of all its taps."""
    model, images = create_model(name, 10).eval().double(), IMAGES.double()
    taps = {**find_taps(model, images), **find_inner_taps(model, images)}
    with torch.no_grad():
        return model, taps, TapReader(model, taps)(images)


def stages(values: dict[str, Tensor]) -> list[int]:
    return [int(tap.removeprefix("stage")) for tap in values if tap.startswith("stage")]


@pytest.mark.parametrize("name", POST_ACTIVATION)
def test_a_stage_is_the_activation_of_its_preactivation(name: str) -> None:
    _, _, values = read(name)
    for stage in stages(values):
        before = values[f"preactivation{stage}"]
        assert before.min() < 0
        assert torch.equal(before.relu(), values[f"stage{stage}"])


def test_before_the_activation_of_a_network_of_preactivation_blocks() -> None:
    """The next block's normalisation makes it, as in RepDistiller and in OFD."""
    model, taps, values = read("wrn_16_2")
    assert [taps[f"preactivation{n}"] for n in (1, 2, 3)] == [
        "block2.layer.0.relu1:input",
        "block3.layer.0.relu1:input",
        "relu:input",
    ]
    assert torch.equal(model.bn1(values["stage3"]), values["preactivation3"])
    assert torch.equal(values["preactivation3"].relu(), values["final"])


def test_a_stage_without_activation_is_its_own_preactivation() -> None:
    _, taps, _ = read("MobileNetV2")
    assert all(taps[f"preactivation{n}"] == taps[f"stage{n}"] for n in range(1, 5))


@pytest.mark.parametrize(("name", "layer"), [("resnet20", "layer2.2.bn2"), ("wrn_16_2", "block3.layer.0.bn1")])
def test_the_normalisation_before_the_activation(name: str, layer: str) -> None:
    model, _, values = read(name)
    norm = model.get_submodule(layer)
    assert values["bn_scale2"] is norm.weight
    assert values["bn_shift2"] is norm.bias


def test_of_a_branch_and_its_shortcut_the_branch_normalises_whichever_runs_last() -> None:
    class Block(nn.Module):
        def __init__(self, shortcut_first: bool) -> None:
            super().__init__()
            self.shortcut_first = shortcut_first
            self.branch = nn.Sequential(
                nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)
            )
            self.shortcut = nn.Sequential(nn.Conv2d(4, 8, 1, 2), nn.BatchNorm2d(8))
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            parts = (self.shortcut, self.branch) if self.shortcut_first else (self.branch, self.shortcut)
            return self.relu(parts[0](x) + parts[1](x))

    for first in (True, False):
        stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        model = nn.Sequential(stem, Block(first), head)
        taps = find_inner_taps(model, IMAGES)
        last = max(tap for tap in taps if tap.startswith("bn_scale"))
        assert taps[last] == "1.branch.4:weight"


@pytest.mark.parametrize("name", [*POST_ACTIVATION, "wrn_16_2", "MobileNetV2", "ShuffleV2"])
def test_final_is_what_is_pooled_and_the_classifiers_parameters_give_the_logits(name: str) -> None:
    _, _, values = read(name)
    torch.testing.assert_close(values["final"].mean((2, 3)), values["pooled"])
    logits = F.linear(values["pooled"], values["classifier_weight"], values["classifier_bias"])
    torch.testing.assert_close(logits, values["logits"])


@pytest.mark.parametrize(("name", "stem"), [("resnet20", "relu"), ("wrn_16_2", "conv1"), ("vgg8", "block0")])
def test_the_stem_is_what_enters_the_first_stage(name: str, stem: str) -> None:
    assert find_inner_taps(create_model(name, 10), IMAGES)["stem"].startswith(stem)


def test_an_in_place_activation_does_not_reach_what_was_read_before_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    values = TapReader(model, {"before": "2:input", "after": "2"})(IMAGES - 0.5)
    assert values["before"].min() < 0
    assert torch.equal(values["before"].relu(), values["after"])
    values["before"].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_parameter_is_read_with_its_gradient_and_its_own_shape() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    taps = {"weight": "0:weight", "logits": ""}
    assert shapes_of(tap_values(model, IMAGES, taps), taps) == {"weight": (5, 3), "logits": (5,)}
    TapReader(model, taps)(IMAGES)["weight"].sum().backward()
    assert model[0].weight.grad is not None


def test_no_such_parameter() -> None:
    reader = TapReader(nn.Sequential(nn.Linear(3, 2, bias=False)), {"bias": "0:bias"})
    with pytest.raises(UserError, match=r"taps\.bias=0:bias: Linear has no bias; tap a linear layer"):
        reader(torch.rand(1, 3))


def test_a_model_may_name_taps_of_its_own() -> None:
    model = create_model("resnet8", 10)
    model.taps = {"half": "layer2"}
    assert find_inner_taps(model, IMAGES)["half"] == "layer2"


@pytest.mark.parametrize(
    "name", ["timm/vit_tiny_patch16_224", "timm/deit_tiny_distilled_patch16_224", "timm/convnext_atto"]
)
def test_what_is_not_averaged_for_the_classifier_is_no_last_map(name: str) -> None:
    assert "final" not in find_inner_taps(create_model(name, 5), torch.rand(2, 3, 224, 224))


@pytest.mark.parametrize("name", ["timm/swin_tiny_patch4_window7_224", "timm/mixer_s32_224"])
def test_the_mean_of_the_last_map_is_what_is_pooled(name: str) -> None:
    images = torch.rand(2, 3, 224, 224)
    model = create_model(name, 5).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    taps = {"final": find_inner_taps(model, images)["final"], "pooled": find_taps(model, images)["pooled"]}
    values = TapReader(model, taps)(images)
    torch.testing.assert_close(values["final"].mean((2, 3)), values["pooled"])


def test_of_two_heads_neither_is_the_classifier() -> None:
    taps = find_inner_taps(create_model("timm/deit_tiny_distilled_patch16_224", 5), torch.rand(2, 3, 224, 224))
    assert not {"classifier_weight", "classifier_bias"} & set(taps)


@pytest.mark.parametrize("name", ["digits_cnn_8", "resnet8x4"])
def test_taps_do_not_depend_on_the_order_in_memory(name: str) -> None:
    channels = 1 if name.startswith("digits") else 3
    model, example = create_model(name, 10, channels), torch.rand(2, channels, 32, 32)
    inner, stages = find_inner_taps(model, example), find_taps(model, example)
    model.to(memory_format=torch.channels_last)
    assert find_inner_taps(model, example) == inner
    assert find_taps(model, example) == stages
