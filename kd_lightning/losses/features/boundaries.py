"""Losses on features in front of their ReLU, as modules."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_positive
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.functional.sizes import deeper_more
from kd_lightning.losses.layers import check_equal_channels, check_maps
from kd_lightning.schedules.progress import Number


class ActivationBoundary(nn.Module):
    """Activation boundaries; see `functional.activation_boundary`. Takes two lists of pre-activations, layer by layer.

    Their shapes must be equal: give its term the projector `Connector`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import ActivationBoundary
        >>> student, teacher = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 5.0)
        >>> ActivationBoundary(margin=1.0)([student], [teacher])  # both fire
        tensor(0.)
    """

    any_memory_format = True

    def __init__(self, margin: Number = 1.0) -> None:
        super().__init__()
        check_positive(margin=margin)
        self.margin = as_number(margin)

    def build(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        check_equal_channels(student, teacher)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
        return functional.activation_boundary(student, teacher, self.margin, reduction=reduction)


class OFD(nn.Module):
    """Overhaul of feature distillation: Σ_l 2^-(L-1-l) · `functional.ofd_partial_l2`, in front of the ReLUs.

    The margins are `functional.margin_relu_margin` of the teacher's batch normalisations, which its frozen state keeps.
    Takes four lists, layer by layer: the student's maps (B, C, H, W) in the teacher's channels (give its term the
    projector `ChannelConnector`), the teacher's maps, average-pooled to the student's sizes as in mdistiller, and the
    weights and biases (C,) of the teacher's batch normalisations (Heo et al. 2019, arXiv:1904.01866).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import OFD
        >>> maps = [torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]
        >>> scales, shifts = [torch.ones(16), torch.ones(32)], [torch.zeros(16), torch.zeros(32)]
        >>> OFD()(maps, maps, scales, shifts)
        tensor(0.)
    """

    any_memory_format = True

    def build(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        scales: Sequence[Tensor],
        shifts: Sequence[Tensor],
    ) -> None:
        check_maps(student, teacher)
        check_equal_channels(student, teacher)

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        scales: Sequence[Tensor],
        shifts: Sequence[Tensor],
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        layers = zip(student, teacher, scales, shifts, strict=True)
        values = [_partial_l2(s, t, scale.detach(), shift.detach(), reduction) for s, t, scale, shift in layers]
        return deeper_more(values)


def _partial_l2(student: Tensor, teacher: Tensor, scale: Tensor, shift: Tensor, reduction: Reduction) -> Tensor:
    margin = functional.margin_relu_margin(scale, shift).view(1, -1, 1, 1)
    pooled = F.adaptive_avg_pool2d(teacher, (student.shape[2], student.shape[3]))
    return functional.ofd_partial_l2(student, pooled, margin, reduction=reduction)
