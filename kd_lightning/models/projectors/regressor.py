"""Convolutions from one map to another's channels and size."""

from torch import Tensor, nn

from kd_lightning.models.batch_norm import BatchNorm2d
from kd_lightning.models.projectors.bridge import Bridge

Shape = tuple[int, ...]


class Regressor(nn.Module):
    """FitNets' regressor, ReLU(BN(conv)), from one map to the shape of another (Romero et al. 2015, arXiv:1412.6550).

    As in RepDistiller: a strided 3×3 convolution halves, a 4×4 transposed convolution doubles, a valid convolution
    bridges a small difference. Farther apart, a 1×1 convolution follows average pooling or bilinear enlargement.
    Between shapes of which one is a vector or tokens, see `Bridge`. Takes (B, *student), returns (B, *teacher).

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.Regressor((16, 8, 8), (64, 4, 4))(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 64, 4, 4])
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        if len(student) == len(teacher) == 3:
            self.project: nn.Module = nn.Sequential(
                _resize(student, teacher), BatchNorm2d(teacher[0]), nn.ReLU(inplace=True)
            )
        else:
            self.project = Bridge(student, teacher)

    def forward(self, feature: Tensor) -> Tensor:
        return self.project(feature)


class Connector(nn.Module):
    """FitNets' regressor without its ReLU, for features in front of one; nothing at all between equal shapes.

    As in RepDistiller for activation boundaries (Heo et al. 2019, arXiv:1811.03233).
    Takes (B, *student), returns (B, *teacher).

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.Connector((16, 8, 8), (64, 4, 4))(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 64, 4, 4])
        >>> feature = torch.rand(2, 16, 8, 8)
        >>> projectors.Connector((16, 8, 8), (16, 8, 8))(feature) is feature
        True
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        if student == teacher:
            self.project: nn.Module = nn.Identity()
        elif len(student) == len(teacher) == 3:
            self.project = nn.Sequential(_resize(student, teacher), BatchNorm2d(teacher[0]))
        else:
            self.project = Bridge(student, teacher)

    def forward(self, feature: Tensor) -> Tensor:
        return self.project(feature)


def _resize(student: Shape, teacher: Shape) -> nn.Module:
    (c_in, *size_in), (c_out, height, width) = student, teacher
    size_out = (height, width)
    if all(s == 2 * t for s, t in zip(size_in, size_out, strict=True)):
        return nn.Conv2d(c_in, c_out, kernel_size=3, stride=2, padding=1)
    if all(2 * s == t for s, t in zip(size_in, size_out, strict=True)):
        return nn.ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1)
    excess = [s - t for s, t in zip(size_in, size_out, strict=True)]
    if all(0 <= e <= 6 for e in excess):
        return nn.Conv2d(c_in, c_out, kernel_size=(1 + excess[0], 1 + excess[1]))
    shrink = all(e >= 0 for e in excess)
    resize = nn.AdaptiveAvgPool2d(size_out) if shrink else nn.Upsample(size_out, mode="bilinear", align_corners=False)
    return nn.Sequential(resize, nn.Conv2d(c_in, c_out, kernel_size=1))
