"""Convolutions from a student's channels to a teacher's, at the student's size or the smaller one of the two."""

import math

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.batch_norm import BatchNorm2d

Shape = tuple[int, ...]


class ChannelConnector(nn.Module):
    """BN(conv 1x1) without a bias, the weights from N(0, 2 / C_t) (Heo et al. 2019, arXiv:1904.01866).

    Takes (B, C_s, H, W), returns (B, C_t, H, W); the size stays the student's.

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.ChannelConnector((16, 8, 8), (64, 4, 4))(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 64, 8, 8])
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        _check(self, "maps (C, H, W)", 3, student, teacher)
        self.project = nn.Sequential(*_normalised(student[0], teacher[0]))

    def forward(self, feature: Tensor) -> Tensor:
        return self.project(feature)


class SRRLConnector(nn.Module):
    """ReLU(BN(linear)) without a bias, as a 1x1 convolution of a 1x1 map (Yang et al. 2021, ICLR).

    In training, a batch of one takes the running statistics, for it has no variance.
    Takes pooled features (B, D_s), returns (B, D_t).

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.SRRLConnector((16,), (64,))(torch.rand(2, 16)).shape
        torch.Size([2, 64])
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        _check(self, "vectors (D,)", 1, student, teacher)
        self.project = nn.Sequential(*_normalised(student[0], teacher[0]), nn.ReLU(inplace=True))

    def forward(self, feature: Tensor) -> Tensor:
        return self.project(feature[:, :, None, None]).flatten(1)


class VIDRegressor(nn.Module):
    """Three 1x1 convolutions without biases, ReLU between them: C_s → C_t → C_t → C_t channels.

    A student's map larger than the teacher's is average-pooled first, as in RepDistiller (Ahn et al. 2019,
    arXiv:1904.05835).
    Takes (B, C_s, H_s, W_s), returns (B, C_t, H, W) at the smaller size.

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.VIDRegressor((16, 8, 8), (64, 4, 4))(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 64, 4, 4])
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        _check(self, "maps (C, H, W)", 3, student, teacher)
        self.project = nn.Sequential(
            _pool_to_smaller(student, teacher),
            nn.Conv2d(student[0], teacher[0], kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher[0], teacher[0], kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher[0], teacher[0], kernel_size=1, bias=False),
        )

    def forward(self, feature: Tensor) -> Tensor:
        return self.project(feature)


class SimKDProjector(nn.Module):
    """A bottleneck of convolutions 1x1, 3x3, 1x1 with C_t / 2 channels inside, each with BN and ReLU, none with a bias.

    A student's map larger than the teacher's is average-pooled first (Chen et al. 2022, arXiv:2203.14001).
    Takes (B, C_s, H_s, W_s), returns (B, C_t, H, W) at the smaller size.

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.SimKDProjector((16, 8, 8), (64, 4, 4))(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 64, 4, 4])
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        _check(self, "maps (C, H, W)", 3, student, teacher)
        middle = max(1, teacher[0] // 2)
        self.project = nn.Sequential(
            _pool_to_smaller(student, teacher),
            *_activated(student[0], middle, kernel_size=1),
            *_activated(middle, middle, kernel_size=3),
            *_activated(middle, teacher[0], kernel_size=1),
        )

    def forward(self, feature: Tensor) -> Tensor:
        return self.project(feature)


def _check(projector: nn.Module, kind: str, dimensions: int, student: Shape, teacher: Shape) -> None:
    if not len(student) == len(teacher) == dimensions:
        raise UserError(
            f"projector={type(projector).__name__}: takes {kind}, not {student} to {teacher}; name other layers, or "
            "another projector"
        )


def _normalised(channels: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels_out, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / channels_out))
    return [convolution, BatchNorm2d(channels_out)]


def _pool_to_smaller(student: Shape, teacher: Shape) -> nn.Module:
    size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
    return nn.Identity() if size == student[1:] else nn.AdaptiveAvgPool2d(size)


def _activated(channels: int, channels_out: int, kernel_size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels_out, kernel_size, padding=kernel_size // 2, bias=False)
    return [convolution, BatchNorm2d(channels_out), nn.ReLU(inplace=True)]
