"""A linear map between features of any two kinds."""

import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]


class Bridge(nn.Module):
    """A linear map of the channels between any two shapes; the positions are pooled, repeated or interpolated.

    No ReLU follows: vectors and tokens are signed. Takes (B, *student), returns (B, *teacher).

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> projectors.Bridge((16,), (64,))(torch.rand(2, 16)).shape
        torch.Size([2, 64])
        >>> projectors.Bridge((16, 8, 8), (49, 64))(torch.rand(2, 16, 8, 8)).shape  # a map to tokens
        torch.Size([2, 49, 64])
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.linear = nn.Linear(_channels(student), _channels(teacher))

    def forward(self, feature: Tensor) -> Tensor:
        tokens = _to_tokens(feature)
        if len(self.teacher) == 1:
            return self.linear(tokens.mean(dim=1))
        tokens = self.linear(_resample(tokens, self.student, self.teacher))
        return tokens.transpose(1, 2).unflatten(2, self.teacher[1:]) if len(self.teacher) == 3 else tokens


def _channels(shape: Shape) -> int:
    return shape[0] if len(shape) == 3 else shape[-1]


def _positions(shape: Shape) -> Shape:
    """The grid of positions: () of a vector, (N,) of tokens, (H, W) of a map."""
    return shape[1:] if len(shape) == 3 else shape[:-1]


def _to_tokens(feature: Tensor) -> Tensor:
    """(B, C), (B, N, C) or (B, C, H, W) to (B, N, C)."""
    if feature.ndim == 4:
        return feature.flatten(2).transpose(1, 2)
    return feature if feature.ndim == 3 else feature.unsqueeze(1)


def _resample(tokens: Tensor, student: Shape, teacher: Shape) -> Tensor:
    """Tokens (B, N_s, C) to (B, N_t, C): over the grid where both are maps, else along the sequence."""
    source, target = _positions(student), _positions(teacher)
    channels_first = tokens.transpose(1, 2)
    if len(source) == len(target) == 2:
        grid = channels_first.unflatten(2, source)
        resampled = F.interpolate(grid, target, mode="bilinear", align_corners=False).flatten(2)
    else:
        count = target[0] if len(target) == 1 else target[0] * target[1]
        resampled = F.interpolate(channels_first, count, mode="linear", align_corners=False)
    return resampled.transpose(1, 2)
