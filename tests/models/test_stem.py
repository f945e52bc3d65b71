"""The stem for small images: what it changes, what it keeps, where it is refused, and where it is noted."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning.conversions import ReplaceHead, converted, stored_beside
from kd_lightning.errors import UserError
from kd_lightning.models import create_model, stem_of
from tests.conftest import Command


def seeded(name: str, stem: str | None) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, num_classes=10, stem=stem)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/resnet18"])
def test_a_resnet_is_the_one_that_is_built_by_hand(name: str) -> None:
    """The usual change for CIFAR: another `conv1`, no `maxpool`; everything else has the weights that it had."""
    found, by_hand = seeded(name, "cifar").eval(), seeded(name, None).eval()
    before = by_hand.conv1.weight.detach()
    by_hand.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    by_hand.maxpool = nn.Identity()
    assert [(key, value.shape) for key, value in found.state_dict().items()] == [
        (key, value.shape) for key, value in by_hand.state_dict().items()
    ]
    # An initialisation by fan draws with a deviation of one over the kernel's side.
    torch.testing.assert_close(found.conv1.weight, before[:, :, 2:5, 2:5] * 7 / 3)
    by_hand.conv1.weight = found.conv1.weight
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(images), by_hand(images))
        assert found.layer1(found.maxpool(found.conv1(images))).shape == (2, 64, 32, 32)


@pytest.mark.parametrize(
    ("name", "larger"),
    [("timm/resnetaa50", 4), ("torchvision/densenet121", 4), ("timm/resnetv2_50", 4), ("timm/efficientnet_b0", 2)],
)
def test_stages_are_larger(name: str, larger: int) -> None:
    shapes = []
    for stem in ("cifar", None):
        with torch.device("meta"):
            model = create_model(name, num_classes=10, stem=stem).eval()
            seen: list[torch.Size] = []
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_hook(lambda *call, seen=seen: seen.append(call[-1].shape))
            model(torch.zeros(2, 3, 64, 64))
        shapes.append([shape[-1] for shape in seen])
    assert shapes[0][0] == 64  # the first convolution
    assert shapes[0][4] == larger * shapes[1][4]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("timm/vit_tiny_patch16_224", "patches"),
        ("torchvision/vgg11", "already"),
        ("resnet8", "timm and torchvision"),
        (nn.Flatten, "timm and torchvision"),
    ],
)
def test_models_without_such_a_stem_are_refused(name: str, remedy: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=f"^student.stem=cifar: .*{remedy}"):
        create_model(name, num_classes=10, stem="cifar", key="student.model")


def test_other_stems_and_published_weights_are_refused() -> None:
    with pytest.raises(UserError, match=r"^stem=large: must be cifar"):
        create_model("timm/resnet18", num_classes=10, stem="large")
    with pytest.raises(UserError, match=r"^stem=cifar: the published weights"):
        create_model("timm/resnet18", num_classes=10, stem="cifar", pretrained=True)


def test_a_converted_network_has_its_stem_still() -> None:
    network = seeded("timm/resnet10t", "cifar")
    changed, _ = converted(network, ReplaceHead(num_classes=3), [{"input": torch.rand(2, 3, 32, 32)}], {})
    assert stem_of(changed) == "cifar"
    assert stored_beside(changed)["stem"] == "cifar"


SMALL = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "scratch=false")
QUIET = ("callbacks.progress_bar=null", "trainer.limit_test_batches=1", "data.train_samples=64")


def test_a_run_notes_its_stem(command: Command, tmp_path: Path) -> None:
    network = ("student.model=timm/test_resnet", "student.stem=cifar")
    done = command("kd-train", *network, *SMALL, *QUIET, "teacher=none", "hydra.run.dir=first")
    assert done.code == 0, done.errors
    again = command("kd-eval", "run=first")
    assert again.code == 0, again.errors
    weights = ("student.weights=first/student.safetensors", "teacher=none", *SMALL, *QUIET)
    refused = command("kd-train", network[0], *weights)
    assert refused.code == 2
    assert refused.error_lines[0].endswith("is of a network with the stem cifar; give student.stem=cifar")
    followed = command("kd-train", *network, *weights)
    assert followed.code == 0, followed.errors
