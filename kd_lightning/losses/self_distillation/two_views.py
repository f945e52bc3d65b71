"""Data-distortion guided self-distillation, as modules."""

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_positive, check_same_classes
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.whole_batch import BatchRelations
from kd_lightning.schedules.progress import Number


class DDGSD(nn.Module):
    """The predictions of two views teach each other; see `functional.ddgsd`. Takes both logits (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import DDGSD
        >>> first, second = torch.randn(8, 10), torch.randn(8, 10)
        >>> DDGSD(temperature=3.0)(first, second, reduction="none").shape
        torch.Size([8])
    """

    outputs = "classes"

    def __init__(self, temperature: Number = 3.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = as_number(temperature)

    def forward(self, first: Tensor, second: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(first, second)
        return functional.ddgsd(first, second, self.temperature, reduction=reduction)


class MeanDiscrepancy(BatchRelations):
    """The squared distance of two mean features; see `functional.mean_discrepancy`. Takes both features (B, ...).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import MeanDiscrepancy
        >>> feature = torch.rand(8, 16)
        >>> MeanDiscrepancy()(feature, feature.flip(0)) < 1e-10  # the same images in another order
        tensor(True)
    """

    def build(self, first: Tensor, second: Tensor) -> None:
        """Raises UserError for features of unequal shapes."""
        if first.shape[1:] != second.shape[1:]:
            shapes = " and ".join(str(tuple(one.shape[1:])) for one in (first, second))
            raise UserError(f"signals={shapes}: the mean features of two views are compared; name one layer of both")

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = self.batch(first, second)
        return functional.mean_discrepancy(first, second)
