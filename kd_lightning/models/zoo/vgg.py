"""VGG for small images: batch normalisation, one linear layer behind an average pooling.

Paper: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
arXiv:1409.1556, table 1 (A, B, D, E). State-dict keys and widths are RepDistiller's (Tian et al., 2019,
arXiv:1910.10699), so its checkpoints load strictly; vgg8 is its own.

    layer    output size (CIFAR)   vgg8       vgg11          vgg13          vgg16          vgg19
    block0   32×32                 3×3, 64    3×3, 64        2 × 3×3, 64    2 × 3×3, 64    2 × 3×3, 64
    block1   16×16                 3×3, 128   3×3, 128       2 × 3×3, 128   2 × 3×3, 128   2 × 3×3, 128
    block2   8×8                   3×3, 256   2 × 3×3, 256   2 × 3×3, 256   3 × 3×3, 256   4 × 3×3, 256
    block3   4×4                   3×3, 512   2 × 3×3, 512   2 × 3×3, 512   3 × 3×3, 512   4 × 3×3, 512
    block4   4×4                   3×3, 512   2 × 3×3, 512   2 × 3×3, 512   3 × 3×3, 512   4 × 3×3, 512
    pool4    1×1                   classifier

A maximum over 2×2 follows blocks 0 to 2. The stages are blocks 1 to 4, each after its last ReLU.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import conv_bn_relu, feature_info, initialise, initialise_classifier

WIDTHS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """VGG with batch normalisation; images (B, in_channels, H, W), H and W at least 8 → logits (B, num_classes).

    Args:
        depths: the number of convolutions in each of the five blocks.
        num_classes: outputs of the classifier.
        in_channels: channels of the images.
    """

    def __init__(self, depths: Sequence[int], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        inputs = (in_channels, *WIDTHS)
        self.block0, self.block1, self.block2, self.block3, self.block4 = (
            block(depth, *widths) for depth, *widths in zip(depths, inputs, WIDTHS, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)
        self.feature_info = feature_info(("block1", 128, 2), ("block2", 256, 4), ("block3", 512, 8), ("block4", 512, 8))
        initialise(self)
        initialise_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.block0(x))
        x = self.pool(self.block1(x))
        x = self.pool(self.block2(x))
        x = self.block4(self.block3(x))
        return self.classifier(self.pool4(x).flatten(1))


def block(depth: int, inputs: int, outputs: int) -> nn.Sequential:
    """`depth` times conv-bn-relu; the convolutions have biases."""
    layers: list[nn.Module] = []
    for width in [inputs] + [outputs] * (depth - 1):
        layers += conv_bn_relu(nn.Conv2d(width, outputs, kernel_size=3, padding=1))
    return nn.Sequential(*layers)
