"""The distance of features at several sizes, for knowledge review."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.sizes import sum_of


def hcl(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Hierarchical context loss: Σ over layers of the weighted mean of mean((s - t)²) at full size and at 4, 2, 1.

    The maps are average-pooled to 4x4, 2x2, 1x1, as long as that is smaller than their height; the weights are 1 and
    then ½, ¼, ⅛ in order, divided by their sum. Chen, Liu, Zhao, Jia 2021, arXiv:2104.09044, as in mdistiller.
    Shapes: layer by layer equal (B, C, H, W). Returns a scalar.
    """
    return sum_of([_in_contexts(s, t) for s, t in zip(student, teacher, strict=True)])


def _in_contexts(s: Tensor, t: Tensor) -> Tensor:
    levels = [size for size in (4, 2, 1) if size < s.shape[2]]
    errors = [F.mse_loss(F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)) for size in levels]
    weights = [2.0**-level for level in range(len(levels) + 1)]
    weighted = [weight * error for weight, error in zip(weights, [F.mse_loss(s, t), *errors], strict=True)]
    return torch.stack(weighted).sum() / sum(weights)
