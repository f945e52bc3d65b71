"""Decoupled distillation."""

from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import (
    as_number,
    check_labels,
    check_not_negative,
    check_one_label,
    check_positive,
    check_same_classes,
)
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import labelled
from kd_lightning.schedules.progress import Number


class DKD(nn.Module):
    """Decoupled distillation; see `functional.dkd`. Takes both logits (B, C) and target (B,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import DKD
        >>> student, teacher, target = torch.randn(8, 10), torch.randn(8, 10), torch.arange(8)
        >>> bool(DKD(beta=2.0)(student, teacher, target) < DKD(beta=8.0)(student, teacher, target))
        True
    """

    outputs = "classes"

    def __init__(self, alpha: Number = 1.0, beta: Number = 8.0, temperature: Number = 4.0) -> None:
        super().__init__()
        check_not_negative(alpha=alpha, beta=beta)
        check_positive(temperature=temperature)
        self.alpha, self.beta, self.temperature = as_number(alpha), as_number(beta), as_number(temperature)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        check_one_label(target)
        check_labels(student, target)
        return functional.dkd(student, teacher, target, self.alpha, self.beta, self.temperature, reduction=reduction)

    def counted(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)
