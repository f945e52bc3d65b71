"""ShuffleNet V2 for small images.

Paper: Ma, Zhang, Zheng & Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018,
arXiv:1807.11164, table 5 (1×). State-dict keys and widths are RepDistiller's (Tian et al., 2019, arXiv:1910.10699),
so its checkpoints load strictly.

    layer     output size (CIFAR)   ShuffleV2
    conv1     32×32                 1×1, 24 (the paper: 3×3 and a maximum, each of stride 2)
    layer1    16×16                 4 blocks, 116
    layer2    8×8                   8 blocks, 232
    layer3    4×4                   4 blocks, 464
    conv2     4×4                   1×1, 1024
    avgpool   1×1                   linear

The first block of each layer halves the resolution.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.models.zoo.layers import ChannelShuffle, conv1x1, depthwise3x3

STEM = 24
BLOCKS = (4, 8, 4)


class SplitBlock(nn.Module):
    """Half of the channels pass, the others run through 1×1, depthwise 3×3, 1×1 and a ReLU; then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv1x1(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = depthwise3x3(half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv1x1(half, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        passed, out = x.chunk(2, dim=1)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(out)))))
        out = self.relu(self.bn3(self.conv3(out)))
        return self.shuffle(torch.cat([passed, out], dim=1))


class HalvingBlock(nn.Module):
    """Two branches of stride 2, depthwise 3×3, 1×1 and 1×1, depthwise 3×3, 1×1; then both are shuffled."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = depthwise3x3(inputs, stride=2)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = conv1x1(inputs, half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv1x1(inputs, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = depthwise3x3(half, stride=2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = conv1x1(half, half)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        left = self.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.relu(self.bn3(self.conv3(x)))
        right = self.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))))
        return self.shuffle(torch.cat([left, right], dim=1))


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2; images (B, in_channels, H, W) → logits (B, num_classes).

    Every layer starts as torch has it, as in RepDistiller.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        self.layer1 = stage(BLOCKS[0], STEM, widths[0])
        self.layer2 = stage(BLOCKS[1], widths[0], widths[1])
        self.layer3 = stage(BLOCKS[2], widths[1], widths[2])
        self.conv2 = conv1x1(widths[2], widths[3])
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.relu2 = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.linear(self.avgpool(x).flatten(1))


def stage(blocks: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(HalvingBlock(inputs, outputs), *(SplitBlock(outputs) for _ in range(blocks - 1)))
