"""MobileNetV2 for small images, at half its width.

Paper: Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018,
arXiv:1801.04381, table 2. State-dict keys, widths and strides are RepDistiller's (Tian et al., 2019,
arXiv:1910.10699), so its checkpoints load strictly: `blocks.1` has stride 1 for the paper's 2, the activations are
ReLUs for its ReLU6.

    layer      output size (CIFAR)   expansion t   channels c (half)   repeated n   first stride s
    conv1      16×16                 -             32 (16)             1            2
    blocks.0   16×16                 1             16 (8)              1            1
    blocks.1   16×16                 6             24 (12)             2            1
    blocks.2   8×8                   6             32 (16)             3            2
    blocks.3   4×4                   6             64 (32)             4            2
    blocks.4   4×4                   6             96 (48)             3            1
    blocks.5   2×2                   6             160 (80)            3            2
    blocks.6   2×2                   6             320 (160)           1            1
    conv2      2×2                   -             1280                1            1
    avgpool    1×1                   classifier

The stages are blocks 1, 2, 4 and 6: the last outputs of each resolution, linear (no ReLU follows a block).
"""

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import (
    conv1x1,
    conv3x3,
    conv_bn_relu,
    depthwise3x3,
    initialise,
    initialise_classifier,
)

TABLE = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and linear projection, beside an identity where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * inputs
        self.has_shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *conv_bn_relu(conv1x1(inputs, wide)),
            *conv_bn_relu(depthwise3x3(wide, stride)),
            conv1x1(wide, outputs),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 × width; images (B, in_channels, H, W) → logits (B, num_classes)."""

    def __init__(self, width: float, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        inputs = int(STEM * width)
        self.conv1 = nn.Sequential(*conv_bn_relu(conv3x3(in_channels, inputs, stride=2)))
        self.blocks = nn.Sequential()
        for expansion, channels, repeated, stride in TABLE:
            outputs = int(channels * width)
            self.blocks.append(stage(inputs, outputs, repeated, stride, expansion))
            inputs = outputs
        self.conv2 = nn.Sequential(*conv_bn_relu(conv1x1(inputs, LAST)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        linear = nn.Linear(LAST, num_classes)
        self.classifier = nn.Sequential(linear)
        initialise(self)
        initialise_classifier(linear)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.blocks(self.conv1(x)))
        return self.classifier(self.avgpool(x).flatten(1))


def stage(inputs: int, outputs: int, repeated: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(inputs, outputs, stride, expansion)
    return nn.Sequential(first, *(InvertedResidual(outputs, outputs, 1, expansion) for _ in range(repeated - 1)))
