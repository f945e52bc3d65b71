"""What several of the models share."""

from typing import Any

from torch import Tensor, nn


def conv1x1(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, groups=groups, bias=False)


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


def depthwise3x3(channels: int, stride: int = 1) -> nn.Conv2d:
    """One 3×3 filter for each channel."""
    return nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1, groups=channels, bias=False)


def conv_bn_relu(convolution: nn.Conv2d) -> list[nn.Module]:
    """A convolution and what follows it in most networks."""
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


class ChannelShuffle(nn.Module):
    """Deals the channels of `groups` consecutive groups out in turn, so that the next groups mix them: (B, C, H, W).

    Paper: Zhang, Zhou, Lin & Sun, "ShuffleNet", 2017, arXiv:1707.01083, figure 1.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


def initialise(model: nn.Module) -> None:
    """He initialisation of the convolutions, by fan-out, their biases zero; the rest keeps torch's own.

    Paper: He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_classifier(classifier: nn.Linear) -> None:
    """Small normal weights and no bias, as VGG and MobileNetV2 start in RepDistiller."""
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)


def feature_info(*stages: tuple[str, int, int]) -> list[dict[str, Any]]:
    """timm's list of stages, of (module, channels, stride), for a model whose resolutions do not tell them."""
    return [{"module": module, "num_chs": channels, "reduction": stride} for module, channels, stride in stages]
