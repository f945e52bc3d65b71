"""Small convolutional networks for small grey images, such as scikit-learn's digits.

layer    output size (8×8 images)   digits_cnn_<w>
layer1   8×8                        3×3, w
layer2   4×4                        3×3, 2w
layer3   2×2                        3×3, 4w
avgpool  1×1                        fc
"""

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import conv3x3, conv_bn_relu, initialise


class DigitsCNN(nn.Module):
    """Three stages of one conv-bn-relu; images (B, in_channels, H, W) → logits (B, num_classes)."""

    def __init__(self, width: int, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.layer1 = stage(in_channels, width, stride=1)
        self.layer2 = stage(width, 2 * width, stride=2)
        self.layer3 = stage(2 * width, 4 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(*conv_bn_relu(conv3x3(inputs, outputs, stride)))
