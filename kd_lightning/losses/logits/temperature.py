"""A temperature that is learned against the student."""

import math

import torch
from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_not_negative, check_positive, check_same_classes
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.schedules.progress import Number


class CurriculumTemperature(nn.Module):
    """Soft targets at a learned temperature, T = start + range·sigmoid(θ), that makes the task harder.

    θ, 1 at first, climbs the loss that the student descends: its gradient is multiplied by λ, which goes from 0 to -1
    as (cos(π·e/epochs) - 1)/2 over the epochs e = 1, 2, …, epochs and stays. The optimizer decays it like all else, as
    the authors' does. Li et al. 2023, arXiv:2211.16231. Takes both logits (B, C) and the number of epochs done ().

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CurriculumTemperature
        >>> loss = CurriculumTemperature(start=1.0, range=20.0)
        >>> student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        >>> loss(student, teacher, torch.tensor(0.0)).backward()
        >>> loss.theta.grad is not None  # the temperature is learned
        True
        >>> bool(1.0 < loss.temperature < 21.0)
        True
    """

    soft_target = True
    outputs = "classes"

    def __init__(self, start: Number = 1.0, range: Number = 20.0, epochs: Number = 10) -> None:
        super().__init__()
        check_positive(start=start, epochs=epochs)
        check_not_negative(range=range)
        self.start, self.range, self.epochs = as_number(start), as_number(range), as_number(epochs)
        self.theta = nn.Parameter(torch.ones(()))

    @property
    def temperature(self) -> Tensor:
        """T as it is now, without gradient."""
        return self._temperature(self.theta.detach())

    def forward(self, student: Tensor, teacher: Tensor, epoch: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        current = (epoch.floor() + 1).clamp(max=self.epochs)
        factor = (torch.cos(current * (math.pi / self.epochs)) - 1) / 2
        theta = functional.reverse_gradient(self.theta, factor)
        return functional.kd(student, teacher, self._temperature(theta), reduction=reduction)

    def _temperature(self, theta: Tensor) -> Tensor:
        return self.start + self.range * torch.sigmoid(theta)
