"""The round trip of eleven architectures through both formats: what the files give is what the network gives."""

from pathlib import Path

import pytest
import torch

from kd_lightning.exporting import export
from kd_lightning.exporting.formats import format_of
from kd_lightning.models import create_model, default_input_size, normalize_inputs
from kd_lightning.taps.outputs import logits_of

ARCHITECTURES = (
    *("resnet8x4", "MobileNetV2", "ShuffleV2"),
    *("timm/vit_tiny_patch16_224", "timm/deit_tiny_distilled_patch16_224", "timm/convnext_atto"),
    *(
        "timm/test_vit",
        "timm/mobilenetv4_conv_small",
        "torchvision/resnet18",
        "torchvision/mobilenet_v3_small",
        "torchvision/squeezenet1_1",
    ),
)
QUICK = {("resnet8x4", "onnx"), ("resnet8x4", "pt2"), ("timm/test_vit", "onnx")}
MOST = 1e-4


def cases() -> list[object]:
    every = [(name, suffix) for name in ARCHITECTURES for suffix in ("onnx", "pt2")]
    return [pytest.param(*one, marks=() if one in QUICK else pytest.mark.slow) for one in every]


@pytest.mark.parametrize(("name", "suffix"), cases())
def test_the_file_gives_what_the_network_gives(name: str, suffix: str, tmp_path: Path) -> None:
    channels, height, width = default_input_size(name)
    generator = torch.Generator().manual_seed(0)
    network = create_model(name, 10, channels)
    normalize_inputs(network, [0.48, 0.45, 0.41], [0.23, 0.22, 0.22])
    with torch.no_grad():
        network.train()
        for _ in range(2):  # statistics of batch normalisations that are not those of a fresh network
            network(torch.rand(4, channels, height, width, generator=generator))
    network.eval()
    file = tmp_path / f"network.{suffix}"
    done = export(network, torch.rand(2, channels, height, width, generator=generator), file, num_classes=10)
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name], "the weights are in the one file"
    assert done.bytes == file.stat().st_size
    kind = format_of(file)
    assert kind is not None
    loaded = kind.load(file)
    for size in (1, 3):
        images = torch.rand(size, channels, height, width, generator=generator)
        with torch.no_grad():
            logits = logits_of(network, network(images), 10)
        given = loaded.run((images,))
        assert given.shape == (size, 10)
        differences = "logits that are nearly alike would agree with any"
        assert (given - logits).abs().max() < min(MOST, 0.01 * logits.std()), differences
