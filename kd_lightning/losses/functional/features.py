"""Losses on feature maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def fitnet(student: Tensor, teacher: Tensor) -> Tensor:
    """Hint: the mean over all elements of (student - teacher)², the student's feature already regressed.

    Romero et al. 2015, arXiv:1412.6550. Shapes: equal, any. Returns a scalar.
    """
    return F.mse_loss(student, teacher)


def attention_transfer(student: Sequence[Tensor], teacher: Sequence[Tensor], p: int = 2) -> Tensor:
    """Attention transfer: Σ over layers of mean((q_s - q_t)²), q = mean over channels of |f|^p, of unit L2 norm.

    Zagoruyko, Komodakis 2017, arXiv:1612.03928, as in RepDistiller: the mean runs over batch and positions. Of two
    sizes the larger map is average-pooled to the smaller.
    Shapes: layer by layer (B, C_s, H_s, W_s) and (B, C_t, H_t, W_t). Returns a scalar.
    """
    pairs = [_to_smaller(*pair) for pair in zip(student, teacher, strict=True)]
    return torch.stack([F.mse_loss(_attention(s, p), _attention(t, p)) for s, t in pairs]).sum()


def _attention(feature: Tensor, p: int) -> Tensor:
    return F.normalize(feature.abs().pow(p).mean(dim=1).flatten(1), dim=1)


def _to_smaller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return tuple(x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (a, b))  # type: ignore[return-value]
