"""This package's own models, by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from kd_lightning.models.zoo.digits import DigitsCNN
from kd_lightning.models.zoo.mobilenet_v1 import MobileNetV1
from kd_lightning.models.zoo.mobilenet_v2 import MobileNetV2
from kd_lightning.models.zoo.resnet_bottleneck import BottleneckResNet
from kd_lightning.models.zoo.resnet_cifar import CifarResNet
from kd_lightning.models.zoo.shufflenet_v1 import ShuffleNetV1
from kd_lightning.models.zoo.shufflenet_v2 import ShuffleNetV2
from kd_lightning.models.zoo.vgg import Vgg
from kd_lightning.models.zoo.wide_resnet import WideResNet

NARROW = (16, 16, 32, 64)
TIMES_4 = (32, 64, 128, 256)

CIFAR: dict[str, Callable[..., nn.Module]] = {
    "resnet8": partial(CifarResNet, 8, NARROW),
    "resnet14": partial(CifarResNet, 14, NARROW),
    "resnet20": partial(CifarResNet, 20, NARROW),
    "resnet32": partial(CifarResNet, 32, NARROW),
    "resnet44": partial(CifarResNet, 44, NARROW),
    "resnet56": partial(CifarResNet, 56, NARROW),
    "resnet110": partial(CifarResNet, 110, NARROW),
    "resnet8x4": partial(CifarResNet, 8, TIMES_4),
    "resnet32x4": partial(CifarResNet, 32, TIMES_4),
    "wrn_16_1": partial(WideResNet, 16, 1),
    "wrn_16_2": partial(WideResNet, 16, 2),
    "wrn_40_1": partial(WideResNet, 40, 1),
    "wrn_40_2": partial(WideResNet, 40, 2),
    "vgg8": partial(Vgg, (1, 1, 1, 1, 1)),
    "vgg11": partial(Vgg, (1, 1, 2, 2, 2)),
    "vgg13": partial(Vgg, (2, 2, 2, 2, 2)),
    "vgg16": partial(Vgg, (2, 2, 3, 3, 3)),
    "vgg19": partial(Vgg, (2, 2, 4, 4, 4)),
    "ResNet50": partial(BottleneckResNet, (3, 4, 6, 3)),
    "MobileNetV2": partial(MobileNetV2, 0.5),
    "ShuffleV1": partial(ShuffleNetV1, (240, 480, 960), 3),
    "ShuffleV2": partial(ShuffleNetV2, (116, 232, 464, 1024)),
}

IMAGENET: dict[str, Callable[..., nn.Module]] = {"mobilenet_v1": MobileNetV1}

DIGITS: dict[str, Callable[..., nn.Module]] = {
    "digits_cnn_4": partial(DigitsCNN, 4),
    "digits_cnn_8": partial(DigitsCNN, 8),
    "digits_cnn_16": partial(DigitsCNN, 16),
    "digits_cnn_32": partial(DigitsCNN, 32),
    "digits_cnn_64": partial(DigitsCNN, 64),
}

ZOO = CIFAR | IMAGENET | DIGITS
