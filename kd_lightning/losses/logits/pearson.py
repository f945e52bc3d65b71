"""Correlations of predictions."""

from torch import Tensor

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_not_negative, check_positive, check_same_classes
from kd_lightning.losses.whole_batch import BatchRelations


class DIST(BatchRelations):
    """Correlation of predictions; see `functional.dist`. Takes both logits (B, C)."""

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, gather: bool = False) -> None:
        super().__init__(gather)
        check_not_negative(beta=beta, gamma=gamma)
        check_positive(temperature=temperature)
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        check_same_classes(student, teacher)
        student, teacher = self.batch(student, teacher)
        return functional.dist(student, teacher, self.beta, self.gamma, self.temperature)
