"""MobileNet for ImageNet.

Paper: Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto & Adam, "MobileNets: Efficient Convolutional Neural
Networks for Mobile Vision Applications", 2017, arXiv:1704.04861, table 1. State-dict keys are those of the ImageNet
experiments of distillation (OFD: Heo et al., 2019, arXiv:1904.01866; mdistiller: Zhao et al., 2022,
arXiv:2203.08679), so their checkpoints load strictly.

    layer          output size (224×224)   depthwise 3×3 and 1×1
    model.0        112×112                 3×3, 32, stride 2: no depthwise convolution
    model.1        112×112                 64
    model.2-3      56×56                   2 × 128
    model.4-5      28×28                   2 × 256
    model.6-11     14×14                   6 × 512
    model.12-13    7×7                     2 × 1024
    avgpool        1×1                     fc

The first block of each line from `model.2` on has stride 2. The stages are blocks 3, 5, 11 and 13.
"""

from torch import Tensor, nn

from kd_lightning.models.zoo.layers import conv1x1, conv3x3, conv_bn_relu, depthwise3x3, feature_info

STEM = 32
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """MobileNet 1.0; images (B, in_channels, H, W) → logits (B, num_classes).

    Every layer starts as torch has it, as in those experiments.
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Sequential(*conv_bn_relu(conv3x3(in_channels, STEM, stride=2))))
        inputs = STEM
        for outputs, stride in BLOCKS:
            self.model.append(separable(inputs, outputs, stride))
            inputs = outputs
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)
        self.feature_info = feature_info(
            ("model.3", 128, 4), ("model.5", 256, 8), ("model.11", 512, 16), ("model.13", 1024, 32)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.model(x)).flatten(1))


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with batch normalisation and a ReLU."""
    return nn.Sequential(*conv_bn_relu(depthwise3x3(inputs, stride)), *conv_bn_relu(conv1x1(inputs, outputs)))
