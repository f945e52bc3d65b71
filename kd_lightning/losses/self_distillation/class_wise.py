"""Class-wise self-distillation, as a module."""

from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_labels, check_positive, check_same_classes
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import labelled
from kd_lightning.schedules.progress import Number


class CSKD(nn.Module):
    """Class-wise self-distillation; see `functional.cs_kd`.

    Takes the logits of images and of others of their classes, (B, C) both, and target (B,). In a term the second are
    `student@same_class.logits.detached`: with `.detached` the network keeps nothing of that pass for a gradient.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CSKD
        >>> logits, partner = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10, requires_grad=True)
        >>> CSKD(temperature=4.0)(logits, partner, torch.arange(8)).backward()
        >>> partner.grad is None  # a target
        True
    """

    outputs = "classes"

    def __init__(self, temperature: Number = 4.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = as_number(temperature)

    def forward(self, logits: Tensor, partner: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(logits, partner)
        check_labels(logits, target)
        return functional.cs_kd(logits, partner, target, self.temperature, reduction=reduction)

    def counted(self, logits: Tensor, partner: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)
