"""Variational information distillation, as a module."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_constant, check_positive
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.functional.sizes import sum_of
from kd_lightning.losses.layers import check_equal_channels, check_maps


class VID(nn.Module):
    """Variational information distillation: Σ over layers of `functional.variational_information`. May be negative.

    Takes two lists of maps (B, C, H, W), layer by layer: the means that the projector `VIDRegressor` of its term
    predicts from the student's maps, and the teacher's maps. Each of the teacher's channels has a trained variance.

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> from kd_lightning.losses import VID
        >>> student, teacher = torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4)
        >>> mean = projectors.VIDRegressor((16, 8, 8), (64, 4, 4))(student)
        >>> loss = VID()
        >>> loss.build([mean], [teacher])
        >>> loss([mean], [teacher]).shape
        torch.Size([])
    """

    any_memory_format = True

    def __init__(self, initial_variance: float = 5.0, eps: float = 1e-5) -> None:
        super().__init__()
        check_constant(eps=eps, initial_variance=initial_variance)
        check_positive(eps=eps, initial_variance=initial_variance - eps)
        self.initial_variance, self.eps = initial_variance, eps

    def build(self, mean: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        check_maps(mean, teacher)
        check_equal_channels(mean, teacher)
        start = math.log(math.expm1(self.initial_variance - self.eps))
        self.log_scales = nn.ParameterList([nn.Parameter(torch.full((t.shape[1],), start)) for t in teacher])

    def forward(self, mean: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
        layers = zip(mean, teacher, self.log_scales, strict=True)
        values = [
            functional.variational_information(m, t, scale, self.eps, reduction=reduction) for m, t, scale in layers
        ]
        return sum_of(values)
