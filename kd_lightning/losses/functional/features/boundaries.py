"""Losses on features in front of their ReLU."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, check_reduction, sum_per_sample
from kd_lightning.losses.functional.sizes import deeper_more


def activation_boundary(
    student: Sequence[Tensor], teacher: Sequence[Tensor], margin: float = 1.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """Activation boundaries: 3/(1000·B) · Σ_l 2^-(L-1-l) · Σ over elements of max(0, margin ∓ s)².

    Where the teacher's neuron fires (t > 0) the student's should be above the margin: max(0, margin - s)²; elsewhere
    below its negative: max(0, margin + s)². Heo, Lee, Yun, Choi 2019, arXiv:1811.03233, with RepDistiller's factors.
    Shapes: layer by layer equal, (B, C, H, W) in front of the ReLU. Returns a scalar, or (B,) for the
    reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import activation_boundary
        >>> student, teacher = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 5.0)  # a layer of one neuron
        >>> activation_boundary([student], [teacher])  # above the margin, where the teacher's fires
        tensor(0.)
        >>> bool(activation_boundary([-student], [teacher]) > 0)
        True
    """
    sides = [torch.where(t > 0, -s, s) for s, t in zip(student, teacher, strict=True)]
    check_reduction(reduction)
    squares = [F.relu(margin + side).square() for side in sides]
    if reduction == "none":
        return deeper_more([square.flatten(1).sum(dim=1) for square in squares]) * 3 / 1000
    return deeper_more([square.sum() for square in squares]) * 3 / 1000 / student[0].shape[0]


def ofd_partial_l2(student: Tensor, teacher: Tensor, margin: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Partial L2 distance to the margin ReLU T = max(t, m): Σ over C, H, W of (s - T)², mean over the batch.

    Elements with s ≤ T ≤ 0 cost nothing: both are off. Heo et al. 2019, arXiv:1904.01866.
    Shapes: student and teacher equal, (B, C, H, W) in front of the ReLU; margin (1, C, 1, 1), not above 0.
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import ofd_partial_l2
        >>> student, teacher = torch.full((2, 1, 1, 1), 1.0), torch.full((2, 1, 1, 1), 3.0)
        >>> ofd_partial_l2(student, teacher, torch.full((1, 1, 1, 1), -0.5))
        tensor(4.)
    """
    wanted = torch.maximum(teacher, margin)
    counts = (wanted > 0) | (student > wanted)
    return sum_per_sample(torch.where(counts, student - wanted, 0.0).square(), reduction=reduction)


def margin_relu_margin(scale: Tensor, shift: Tensor) -> Tensor:
    """The mean negative response E[x | x < 0] of x ~ N(shift, scale²), what a batch normalisation gives.

    m - s·φ(m/s)/Φ(-m/s) with s = |scale|, m = shift; -3s where fewer than one in a thousand responses are negative.
    Heo et al. 2019, arXiv:1904.01866. Shapes: all (C,). Returns margins (C,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import margin_relu_margin
        >>> margin_relu_margin(scale=torch.tensor([1.0]), shift=torch.tensor([0.0]))  # -√(2/π)
        tensor([-0.7979])
    """
    s = scale.abs()
    ratio = shift / s.clamp_min(torch.finfo(s.dtype).tiny)
    share = torch.special.ndtr(-ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    return torch.where(share > 0.001, shift - s * density / share.clamp_min(0.001), -3 * s)
