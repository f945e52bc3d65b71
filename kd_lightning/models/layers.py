"""What the CIFAR models share."""

from torch import nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


def initialise(model: nn.Module) -> None:
    """He initialisation of the convolutions, by fan-out; the rest keeps torch's own.

    Paper: He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", 2015, arXiv:1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
