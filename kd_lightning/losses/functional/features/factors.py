"""Losses on factors: what a translator and a paraphraser make of a feature."""

from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, mean_per_sample
from kd_lightning.losses.functional.sizes import to_smaller, unit


def factor_transfer(
    student: Tensor, teacher: Tensor, p1: int = 2, p2: float = 1, *, reduction: Reduction = "mean"
) -> Tensor:
    """Factor transfer: mean |F_s - F_t|^p2, F = mean over channels of factor^p1, of unit L2 norm.

    Kim, Park, Kwak 2018, arXiv:1802.04977, as in RepDistiller: the mean runs over batch and positions. Of two sizes
    the larger factor is average-pooled to the smaller.
    Shapes: the translator's (B, C_s, H_s, W_s) and the paraphraser's (B, C_t, H_t, W_t).
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import factor_transfer
        >>> factor_transfer(torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)).shape
        torch.Size([])
    """
    s, t = (unit(f.pow(p1).mean(dim=1).flatten(1), 1) for f in to_smaller(student, teacher))
    return mean_per_sample((s - t).abs().pow(p2), reduction)
