"""ShuffleNet for small images.

Paper: Zhang, Zhou, Lin & Sun, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
2017, arXiv:1707.01083, table 1 (three groups). State-dict keys and widths are RepDistiller's (Tian et al., 2019,
arXiv:1910.10699), so its checkpoints load strictly.

    layer     output size (CIFAR)   ShuffleV1
    conv1     32×32                 1×1, 24 (the paper: 3×3 and a maximum, each of stride 2)
    layer1    16×16                 4 blocks, 240
    layer2    8×8                   8 blocks, 480
    layer3    4×4                   4 blocks, 960
    avgpool   1×1                   linear

The first block of each layer halves the resolution; its shortcut is a pooling, whose channels are appended.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.models.zoo.layers import ChannelShuffle, conv1x1, depthwise3x3

STEM = 24
BLOCKS = (4, 8, 4)


class ShuffleBlock(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1, beside a shortcut; the output is taken after the last ReLU."""

    def __init__(self, inputs: int, outputs: int, groups: int, halves: bool = False) -> None:
        super().__init__()
        computed = outputs - inputs if halves else outputs  # the rest comes through the shortcut
        narrow = computed // 4
        first_groups = 1 if inputs == STEM else groups
        self.conv1 = conv1x1(inputs, narrow, groups=first_groups)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.shuffle = ChannelShuffle(first_groups)
        self.conv2 = depthwise3x3(narrow, stride=2 if halves else 1)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = conv1x1(narrow, computed, groups=groups)
        self.bn3 = nn.BatchNorm2d(computed)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if halves else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.shuffle(self.relu(self.bn1(self.conv1(x))))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + x if self.pool is None else torch.cat([out, self.pool(x)], dim=1))


class ShuffleNetV1(nn.Module):
    """ShuffleNet; images (B, in_channels, H, W) → logits (B, num_classes).

    Every layer starts as torch has it, as in RepDistiller.
    """

    def __init__(self, widths: Sequence[int], groups: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        self.layer1 = stage(BLOCKS[0], STEM, widths[0], groups)
        self.layer2 = stage(BLOCKS[1], widths[0], widths[1], groups)
        self.layer3 = stage(BLOCKS[2], widths[1], widths[2], groups)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[2], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.avgpool(x).flatten(1))


def stage(blocks: int, inputs: int, outputs: int, groups: int) -> nn.Sequential:
    first = ShuffleBlock(inputs, outputs, groups, halves=True)
    return nn.Sequential(first, *(ShuffleBlock(outputs, outputs, groups) for _ in range(blocks - 1)))
