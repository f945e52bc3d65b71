"""The information that a student's feature holds about the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, mean_per_sample
from kd_lightning.losses.functional.sizes import to_smaller


def variational_information(
    mean: Tensor, teacher: Tensor, log_scale: Tensor, eps: float = 1e-5, *, reduction: Reduction = "mean"
) -> Tensor:
    """Negative log-likelihood of the teacher's feature: mean of ½·[(mean - t)²/σ² + log σ²], σ² = softplus(ρ) + eps.

    A lower bound of the two networks' mutual information, without its constant: the value may be negative.
    Ahn et al. 2019, arXiv:1904.05835. Of two sizes the larger map is average-pooled to the smaller.
    Shapes: mean (B, C, H_s, W_s), predicted from the student; teacher (B, C, H_t, W_t); ρ = log_scale (C,).
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import math
        >>> import torch
        >>> from kd_lightning.losses.functional import variational_information
        >>> mean, teacher = torch.ones(2, 8, 4, 4), torch.zeros(2, 8, 4, 4)
        >>> log_scale = torch.full((8,), math.log(math.e - 1))  # a variance of 1
        >>> round(variational_information(mean, teacher, log_scale).item(), 3)
        0.5
    """
    mean, teacher = to_smaller(mean, teacher)
    variance = (F.softplus(log_scale) + eps).view(1, -1, 1, 1)
    return 0.5 * mean_per_sample((mean - teacher).square() / variance + torch.log(variance), reduction)
