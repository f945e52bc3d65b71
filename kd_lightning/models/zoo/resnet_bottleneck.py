"""Residual networks of bottleneck blocks for small images.

Paper: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385, table 1.
State-dict keys and widths are RepDistiller's (Tian et al., 2019, arXiv:1910.10699), so its checkpoints load strictly.

    layer    output size (CIFAR)   ResNet50
    conv1    32×32                 3×3, 64 (the paper: 7×7 and a maximum, each of stride 2)
    layer1   32×32                 3 × [1×1, 64; 3×3, 64; 1×1, 256]
    layer2   16×16                 4 × [1×1, 128; 3×3, 128; 1×1, 512]
    layer3   8×8                   6 × [1×1, 256; 3×3, 256; 1×1, 1024]
    layer4   4×4                   3 × [1×1, 512; 3×3, 512; 1×1, 2048]
    avgpool  1×1                   linear

The 3×3 convolution has the stride, as everyone does since; in the paper it is the first 1×1.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import conv1x1, conv3x3, initialise

STEM = 64
EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 beside a shortcut; the output is taken after the last ReLU."""

    def __init__(self, inputs: int, narrow: int, stride: int = 1) -> None:
        super().__init__()
        outputs = EXPANSION * narrow
        self.conv1 = conv1x1(inputs, narrow)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = conv3x3(narrow, narrow, stride)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = conv1x1(narrow, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


class BottleneckResNet(nn.Module):
    """ResNet of four layers of bottlenecks; images (B, in_channels, H, W) → logits (B, num_classes)."""

    def __init__(self, blocks: Sequence[int], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        self.layer1 = stage(blocks[0], STEM, 64, stride=1)
        self.layer2 = stage(blocks[1], 256, 128, stride=2)
        self.layer3 = stage(blocks[2], 512, 256, stride=2)
        self.layer4 = stage(blocks[3], 1024, 512, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(2048, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(self.avgpool(x).flatten(1))


def stage(blocks: int, inputs: int, narrow: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, narrow, stride)
    return nn.Sequential(first, *(Bottleneck(EXPANSION * narrow, narrow) for _ in range(blocks - 1)))
