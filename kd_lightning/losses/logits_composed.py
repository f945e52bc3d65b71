"""Losses on logits that contain another loss, a parameter, or a second view."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_not_negative, check_positive, check_same_classes
from kd_lightning.losses.whole_batch import BatchRelations


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


class CurriculumTemperature(nn.Module):
    """Soft targets at a learned temperature, T = start + range·sigmoid(θ), that makes the task harder.

    θ, 1 at first, climbs the loss that the student descends: its gradient is multiplied by λ, which goes from 0 to -1
    as (cos(π·e/epochs) - 1)/2 over the epochs e = 1, 2, …, epochs and stays. The optimizer decays it like all else, as
    the authors' does. Li et al. 2023, arXiv:2211.16231. Takes both logits (B, C) and the number of epochs done ().
    """

    soft_target = True

    def __init__(self, start: float = 1.0, range: float = 20.0, epochs: int = 10) -> None:
        super().__init__()
        check_positive(start=start, epochs=epochs)
        check_not_negative(range=range)
        self.start, self.range, self.epochs = start, range, epochs
        self.theta = nn.Parameter(torch.ones(()))

    @property
    def temperature(self) -> Tensor:
        """T as it is now, without gradient."""
        return self._temperature(self.theta.detach())

    def forward(self, student: Tensor, teacher: Tensor, epoch: Tensor) -> Tensor:
        check_same_classes(student, teacher)
        current = (epoch.floor() + 1).clamp(max=self.epochs)
        factor = (torch.cos(current * (math.pi / self.epochs)) - 1) / 2
        theta = functional.reverse_gradient(self.theta, factor)
        return functional.kd(student, teacher, self._temperature(theta))

    def _temperature(self, theta: Tensor) -> Tensor:
        return self.start + self.range * torch.sigmoid(theta)


class MLKD(BatchRelations):
    """Multi-level logits of two views; see `functional.mlkd`. Takes four logits (B, C): student's and teacher's of the
    weak view, student's and teacher's of the strong one.
    """

    soft_target = True

    def __init__(
        self,
        temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
        strong_temperatures: Sequence[float] = (3.0, 4.0, 5.0),
        gather: bool = False,
    ) -> None:
        super().__init__(gather)
        if not temperatures:
            raise UserError(f"temperatures={list(temperatures)}: needs at least one, such as [4.0]")
        for temperature in temperatures:
            check_positive(temperatures=temperature)
        if not set(strong_temperatures) <= set(temperatures):
            raise UserError(
                f"strong_temperatures={list(strong_temperatures)}: must be among temperatures={list(temperatures)}"
            )
        self.temperatures, self.strong_temperatures = tuple(temperatures), tuple(strong_temperatures)

    def forward(self, student: Tensor, teacher: Tensor, student_strong: Tensor, teacher_strong: Tensor) -> Tensor:
        check_same_classes(student, teacher, student_strong, teacher_strong)
        student, teacher, student_strong, teacher_strong = self.batch(student, teacher, student_strong, teacher_strong)
        return functional.mlkd(
            student, teacher, student_strong, teacher_strong, self.temperatures, self.strong_temperatures
        )
