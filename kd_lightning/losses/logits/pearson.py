"""Correlations of predictions."""

from torch import Tensor

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_not_negative, check_positive, check_same_classes
from kd_lightning.losses.whole_batch import BatchRelations
from kd_lightning.schedules.progress import Number


class DIST(BatchRelations):
    """Correlation of predictions; see `functional.dist`. Takes both logits (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import DIST
        >>> student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        >>> bool(DIST()(teacher, teacher) < DIST()(student, teacher))
        True
    """

    outputs = "classes"

    def __init__(
        self, beta: Number = 1.0, gamma: Number = 1.0, temperature: Number = 1.0, gather: bool = False
    ) -> None:
        super().__init__(gather)
        check_not_negative(beta=beta, gamma=gamma)
        check_positive(temperature=temperature)
        self.beta, self.gamma, self.temperature = as_number(beta), as_number(gamma), as_number(temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        check_same_classes(student, teacher)
        student, teacher = self.batch(student, teacher)
        return functional.dist(student, teacher, self.beta, self.gamma, self.temperature)
