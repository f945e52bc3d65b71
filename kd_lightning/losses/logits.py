"""Losses on logits, as modules."""

import math

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional


class CrossEntropy(nn.Module):
    """Cross-entropy with the labels; see `functional.cross_entropy`. Takes logits (B, C) and target (B,)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing={label_smoothing}: must be at least 0 and below 1")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(logits, target, self.label_smoothing)


class SoftTarget(nn.Module):
    """Hinton's distillation loss; see `functional.kd`. Takes the logits of student and teacher, both (B, C)."""

    soft_target = True  # beside it cross-entropy weighs 1 - alpha

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise UserError(f"temperature={temperature}: must be a finite number above 0")
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return functional.kd(student, teacher, self.temperature)


class MeanSquaredLogits(nn.Module):
    """Squared distance of logits; see `functional.mean_squared_logits`. Takes both logits (B, C)."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return functional.mean_squared_logits(student, teacher)
