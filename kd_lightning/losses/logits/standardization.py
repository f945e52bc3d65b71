"""Losses on standardized logits."""

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_same_classes


class LogitStandardization(nn.Module):
    """Any loss on logits, given logits of zero mean and unit deviation; see `functional.standardize`.

    Takes both logits (B, C), then whatever else the loss takes.
    """

    soft_target = True

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        if hasattr(loss, "build"):
            raise UserError(f"loss={type(loss).__name__}: takes more than logits; standardize a loss on logits alone")
        self.loss = loss

    def forward(self, student: Tensor, teacher: Tensor, *rest: Tensor) -> Tensor:
        check_same_classes(student, teacher)
        return self.loss(functional.standardize(student), functional.standardize(teacher), *rest)
