"""What the losses on maps share: equal sizes, unit vectors, sums over layers."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def to_smaller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (B, C, H, W) at one size: in each dimension the larger one is average-pooled to the smaller."""
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return _pool(a, size), _pool(b, size)


def unit(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """x, of any shape, of L2 norm 1 over `dim`; zeros stay zeros, with gradient 0, for they point nowhere."""
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / norm.masked_fill(norm < 1e-12, math.inf)


def sum_of(layers: Sequence[Tensor]) -> Tensor:
    """The sum of one value for each layer, a scalar each, or one for each layer and sample, (B,) each."""
    return torch.stack(list(layers)).sum(dim=0)


def deeper_more(layers: Sequence[Tensor]) -> Tensor:
    """Σ_l 2^-(L-1-l) · value_l, scalars: the last of L layers counts fully, each one before it half as much."""
    return sum_of([value / 2**above for above, value in enumerate(reversed(layers))])


def _pool(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return feature if feature.shape[2:] == size else F.adaptive_avg_pool2d(feature, size)
