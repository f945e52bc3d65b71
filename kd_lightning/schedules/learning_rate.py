"""Learning-rate schedules that know the training's length: warm-up, then step or cosine, per epoch or per step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from kd_lightning.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule:
    """Constant, after a linear warm-up over the share `warmup` of the training.

    Args:
        interval: the learning rate changes after every `epoch` or every `step`.
        warmup: the warm-up's share of the training, in [0, 1).

    Examples:
        >>> import torch
        >>> from kd_lightning.schedules.learning_rate import LearningRateSchedule
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> schedule = LearningRateSchedule(interval="step", warmup=0.1)(optimizer, total=100)
        >>> schedule.get_last_lr()[0] < 0.1  # it rises over the first ten steps
        True
    """

    interval: Literal["epoch", "step"] = "epoch"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.interval not in ("epoch", "step"):
            raise UserError(f"scheduler.interval={self.interval}: must be epoch or step")
        if not 0 <= self.warmup < 1:
            raise UserError(f"scheduler.warmup={self.warmup}: a share of the training, at least 0 and below 1")

    @property
    def needs_length(self) -> bool:
        """Whether it cannot be made without the training's length."""
        return self.warmup > 0 or type(self).decay is not LearningRateSchedule.decay

    def __call__(self, optimizer: Optimizer, total: int) -> LRScheduler:
        """The schedule for a training of `total` epochs or steps, whichever `interval` names."""
        warmup = round(self.warmup * total)
        if warmup == 0:
            return self.decay(optimizer, total, 0)
        rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        return SequentialLR(optimizer, [rise, self.decay(optimizer, total, warmup)], [warmup])

    def decay(self, optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
        """What follows the warm-up of `warmup` units."""
        return ConstantLR(optimizer, factor=1.0, total_iters=0)


@dataclass(frozen=True, kw_only=True)
class Cosine(LearningRateSchedule):
    """Half a cosine from the learning rate down to 0 (Loshchilov, Hutter 2017, arXiv:1608.03983).

    Examples:
        >>> import torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.schedules.learning_rate import Cosine
        >>> module = DistillationModule(torch.nn.Linear(4, 3), scheduler=Cosine(interval="step", warmup=0.05))
    """

    def decay(self, optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
        return CosineAnnealingLR(optimizer, T_max=max(1, total - warmup))


@dataclass(frozen=True, kw_only=True)
class Step(LearningRateSchedule):
    """Multiplied by `factor` at each milestone, given as a share of the training: 150 of 240 epochs is 0.625.

    Examples:
        >>> import torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.schedules.learning_rate import Step
        >>> module = DistillationModule(torch.nn.Linear(4, 3), scheduler=Step(milestones=(0.5, 0.75), factor=0.1))
    """

    milestones: Sequence[float] = (0.625, 0.75, 0.875)
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(not 0 < share < 1 for share in self.milestones):
            raise UserError(f"scheduler.milestones={list(self.milestones)}: shares of the training, between 0 and 1")

    @property
    def needs_length(self) -> bool:
        return self.warmup > 0 or len(self.milestones) > 0

    def decay(self, optimizer: Optimizer, total: int, warmup: int) -> LRScheduler:
        return MultiStepLR(optimizer, [round(share * total) - warmup for share in self.milestones], self.factor)
