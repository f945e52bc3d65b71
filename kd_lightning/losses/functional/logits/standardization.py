"""Logits of zero mean and unit deviation."""

import math

import torch
from torch import Tensor

from kd_lightning.losses.functional.logits.targets import kd
from kd_lightning.losses.functional.samples import Reduction, check_logits


def standardize(logits: Tensor) -> Tensor:
    """(z - mean z) / (std z + 1e-7) for each row; std with C-1 in its denominator, as in the public code.

    Sun et al. 2024, arXiv:2403.01427. Constant logits become 0, and close to it the slope is steep, up to 1e7.
    Classes masked with -inf stay so; mean and deviation are those of the others. Shapes: (B, C) to (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import standardize
        >>> standardize(torch.tensor([[10.0, 20.0, 30.0]])).round()
        tensor([[-1.,  0.,  1.]])
    """
    check_logits(logits)
    masked = logits == -math.inf
    classes = logits.shape[1]
    left = classes - masked.sum(dim=1, keepdim=True)
    # Where nothing is masked both factors are exactly 1.
    mean = logits.masked_fill(masked, 0.0).mean(dim=1, keepdim=True) * (classes / left)
    filled = torch.where(masked, mean, logits)
    std = filled.std(dim=1, keepdim=True) * ((classes - 1) / (left - 1).clamp(min=1)).sqrt()
    return ((filled - mean) / (std + 1e-7)).masked_fill(masked, -math.inf)


def logit_standardization_kd(
    student: Tensor, teacher: Tensor, temperature: float = 2.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """Soft targets of standardized logits: kd(standardize(student), standardize(teacher), T).

    Sun et al. 2024, arXiv:2403.01427. The logits' scale is free: the student may match their order alone.
    Shapes: both (B, C). Returns a scalar, or (B,) for the reduction `none`. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import logit_standardization_kd
        >>> teacher = torch.tensor([[10.0, 20.0, 30.0]])
        >>> bool(logit_standardization_kd(teacher / 10, teacher) < 1e-6)  # the scale is free
        True
    """
    check_logits(student, teacher)
    return kd(standardize(student), standardize(teacher), temperature, reduction=reduction)
