"""The distance of features at several sizes, for knowledge review."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, squared_distance
from kd_lightning.losses.functional.sizes import sum_of


def hcl(student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
    """Hierarchical context loss: Σ over layers of the weighted mean of mean((s - t)²) at full size and at 4, 2, 1.

    The maps are average-pooled to 4x4, 2x2, 1x1, as long as that is smaller than their height; the weights are 1 and
    then ½, ¼, ⅛ in order, divided by their sum. Chen, Liu, Zhao, Jia 2021, arXiv:2104.09044, as in mdistiller.
    Shapes: layer by layer equal (B, C, H, W). Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import hcl
        >>> hcl([torch.ones(2, 8, 8, 8)], [torch.zeros(2, 8, 8, 8)])  # 1 apart at every size
        tensor(1.)
    """
    return sum_of([_in_contexts(s, t, reduction) for s, t in zip(student, teacher, strict=True)])


def _in_contexts(s: Tensor, t: Tensor, reduction: Reduction) -> Tensor:
    levels = [size for size in (4, 2, 1) if size < s.shape[2]]
    pairs = [(s, t), *((F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)) for size in levels)]
    errors = [squared_distance(*pair, reduction) for pair in pairs]
    weights = [2.0**-level for level in range(len(pairs))]
    return sum_of([weight * error for weight, error in zip(weights, errors, strict=True)]) / sum(weights)
