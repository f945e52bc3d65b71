"""Wide residual networks for small images.

Paper: Zagoruyko & Komodakis, "Wide Residual Networks", 2016, arXiv:1605.07146, table 1.
State-dict keys are RepDistiller's (Tian et al., 2019, arXiv:1910.10699), so its checkpoints load strictly.

    layer       output size (CIFAR)   wrn_<6n+4>_<k>
    conv1       32×32                 3×3, 16
    block1      32×32                 n × [3×3, 16k; 3×3, 16k]
    block2      16×16                 n × [3×3, 32k; 3×3, 32k]
    block3      8×8                   n × [3×3, 64k; 3×3, 64k]
    bn1, relu   8×8
    avgpool     1×1                   fc

The blocks are pre-activation (bn-relu-conv, He et al., 2016, arXiv:1603.05027): block1 and block2 end in a sum that no
ReLU has followed yet, and `relu` holds the last stage's activation.
"""

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import conv1x1, conv3x3, initialise


class PreActivationBlock(nn.Module):
    """bn-relu-conv twice, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(outputs, outputs)
        self.convShortcut: nn.Module | None = None
        if inputs != outputs:
            self.convShortcut = conv1x1(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        # The projection reads the activated input, the identity the raw one.
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        return shortcut + self.conv2(self.relu2(self.bn2(self.conv1(activated))))


class Stage(nn.Module):
    """n blocks, the first of which changes width and resolution."""

    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = PreActivationBlock(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(PreActivationBlock(outputs, outputs) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """WRN-(6n+4)-k; images (B, in_channels, H, W) → logits (B, num_classes)."""

    def __init__(self, depth: int, widen: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        assert depth > 4, f"depth {depth} holds no block"
        assert rest == 0, f"depth {depth} is not 6n+4"
        stem, *stages = 16, 16 * widen, 32 * widen, 64 * widen
        self.conv1 = conv3x3(in_channels, stem)
        self.block1 = Stage(blocks, stem, stages[0], stride=1)
        self.block2 = Stage(blocks, stages[0], stages[1], stride=2)
        self.block3 = Stage(blocks, stages[1], stages[2], stride=2)
        self.bn1 = nn.BatchNorm2d(stages[2])
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[2], num_classes)
        initialise(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))
