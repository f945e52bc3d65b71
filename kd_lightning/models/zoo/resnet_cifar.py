"""Residual networks for small images.

Paper: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385, section 4.2.
State-dict keys and widths are RepDistiller's (Tian et al., 2019, arXiv:1910.10699), so its checkpoints load strictly.

    layer    output size (CIFAR)   resnet<6n+2>            resnet<6n+2>x4
    conv1    32×32                 3×3, 16                 3×3, 32
    layer1   32×32                 n × [3×3, 16; 3×3, 16]  n × [3×3, 64; 3×3, 64]
    layer2   16×16                 n × [3×3, 32; 3×3, 32]  n × [3×3, 128; 3×3, 128]
    layer3   8×8                   n × [3×3, 64; 3×3, 64]  n × [3×3, 256; 3×3, 256]
    avgpool  1×1                   fc                      fc
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import conv1x1, conv3x3, initialise


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; the output is taken after the last ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class CifarResNet(nn.Module):
    """ResNet-(6n+2) of basic blocks; images (B, in_channels, H, W) → logits (B, num_classes)."""

    def __init__(self, depth: int, widths: Sequence[int], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        assert depth > 2, f"depth {depth} holds no block"
        assert rest == 0, f"depth {depth} is not 6n+2"
        stem, *stages = widths
        self.conv1 = conv3x3(in_channels, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.layer1 = stage(blocks, stem, stages[0], stride=1)
        self.layer2 = stage(blocks, stages[0], stages[1], stride=2)
        self.layer3 = stage(blocks, stages[1], stages[2], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[2], num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))
