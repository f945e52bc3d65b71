"""Losses on standardized logits."""

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_same_classes
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import counted, has_values, values


class LogitStandardization(nn.Module):
    """Any loss on logits, given logits of zero mean and unit deviation; see `functional.standardize`.

    Takes both logits (B, C), then whatever else the loss takes.

    Raises UserError for a loss that takes more than logits.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import LogitStandardization, SoftTarget
        >>> student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        >>> loss = LogitStandardization(SoftTarget(temperature=2.0))
        >>> torch.testing.assert_close(loss(100 * student, teacher), loss(student, teacher), rtol=1e-4, atol=1e-5)
    """

    soft_target = True
    outputs = "classes"

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        if hasattr(loss, "build"):
            raise UserError(f"loss={type(loss).__name__}: takes more than logits; standardize a loss on logits alone")
        self.loss = loss

    @property
    def per_sample(self) -> bool | None:
        """Whether the loss is a mean over samples; see `has_values`."""
        return has_values(self.loss)

    def forward(self, student: Tensor, teacher: Tensor, *rest: Tensor, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        signals = (functional.standardize(student), functional.standardize(teacher), *rest)
        return values(self.loss, *signals) if reduction == "none" else self.loss(*signals)

    def counted(self, *signals: Tensor) -> Tensor | None:
        return counted(self.loss, *signals)
