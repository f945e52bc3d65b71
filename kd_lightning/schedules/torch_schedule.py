"""When schedulers of torch, which count for themselves, are stepped: after each epoch or after each step."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CyclicLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from kd_lightning.errors import UserError
from kd_lightning.schedules.learning_rate import LearningRateSchedule
from kd_lightning.schedules.length import Length, unlimited

NEVER = 2**62  # steps
HORIZONS = ("T_max", "total_iters", "T_0")  # how a scheduler of torch calls what it counts to
SET_INTERVAL = "give it as kd_lightning.schedules.TorchSchedule with interval step or epoch"


@dataclass(frozen=True, kw_only=True)
class TorchSchedule:
    """A scheduler of torch, or one like it, with what torch leaves to whoever steps it.

    Without an interval, what counts steps by its nature (OneCycleLR, CyclicLR), by the name of an argument
    (`num_training_steps`), or because it counts to exactly the training's steps, is stepped after each step, all else
    after each epoch.

    Args:
        make: makes the scheduler from the optimizer.
        interval: it is stepped after every `epoch` or every `step`.
        monitor: the logged metric that `ReduceLROnPlateau` watches, such as `val/top1`.

    Examples:
        >>> from functools import partial
        >>> import torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.schedules import TorchSchedule
        >>> step = partial(torch.optim.lr_scheduler.StepLR, step_size=100, gamma=0.5)
        >>> module = DistillationModule(torch.nn.Linear(4, 3), scheduler=TorchSchedule(make=step, interval="step"))
    """

    make: Callable[[Optimizer], LRScheduler]
    interval: Literal["epoch", "step"] | None = None
    monitor: str | None = None

    def __post_init__(self) -> None:
        if self.interval not in ("epoch", "step", None):
            raise UserError(f"scheduler.interval={self.interval}: must be epoch or step, or null")

    def __call__(self, optimizer: Optimizer) -> LRScheduler:
        """The scheduler. Raises UserError for one that watches a metric where none is named."""
        scheduler = self.make(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau) and self.monitor is None:
            raise UserError(
                "scheduler=ReduceLROnPlateau: watches a metric; give it as kd_lightning.schedules.TorchSchedule "
                "with monitor, such as val/nll"
            )
        return scheduler

    def interval_of(self, scheduler: LRScheduler, length: Length) -> Literal["epoch", "step"]:
        """When the scheduler is stepped. Raises UserError where that is not to be seen."""
        if self.interval is not None:
            return self.interval
        if any(isinstance(part, (OneCycleLR, CyclicLR)) for part in parts(scheduler)):
            return "step"
        if any("steps" in name for name in getattr(self.make, "keywords", {})):
            return "step"
        counted = horizon(scheduler)
        if length.epochs < counted <= length.steps < math.inf:
            if counted == length.steps:
                return "step"
            raise UserError(
                f"scheduler={type(scheduler).__name__}: counts to {counted:g}, beyond the {length.epochs:g} epochs of "
                f"the training, within its {length.steps:g} steps; {SET_INTERVAL}"
            )
        return "epoch"


def scheduled(
    schedule: LearningRateSchedule | Callable[[Optimizer], LRScheduler], optimizer: Optimizer, length: Length
) -> dict[str, Any]:
    """A schedule for an optimizer, as Lightning takes it. Raises UserError where its length is needed and not known."""
    if isinstance(schedule, LearningRateSchedule):
        total = length.steps if schedule.interval == "step" else length.epochs
        if not math.isfinite(total) and schedule.needs_length:
            raise UserError(unknown_length(schedule, length))
        made = schedule(optimizer, round(total) if math.isfinite(total) else 0)
        made.total = round(total) if math.isfinite(total) else None  # type: ignore[attr-defined]
        return {"scheduler": made, "interval": schedule.interval}
    schedule = schedule if isinstance(schedule, TorchSchedule) else TorchSchedule(make=schedule)
    scheduler = schedule(optimizer)
    interval = schedule.interval_of(scheduler, length)
    for part in parts(scheduler):
        if isinstance(part, OneCycleLR) and part.total_steps < (length.steps if interval == "step" else length.epochs):
            raise UserError(
                f"scheduler.total_steps={part.total_steps}: OneCycleLR cannot go on after its last step, and the "
                f"training has {length.steps:g}; give total_steps={length.steps:g}, or trainer.max_steps"
            )
    return {"scheduler": scheduler, "interval": interval, "monitor": schedule.monitor}


def steps_by_progress(trainer: Trainer) -> Iterator[LRScheduler]:
    """The schedules by steps that know the training's length; Lightning steps them no more."""
    for config in trainer.lr_scheduler_configs:
        if config.interval == "step" and getattr(config.scheduler, "total", None) is not None:
            config.frequency = NEVER
            yield config.scheduler


def bring_to(scheduler: LRScheduler, fraction: float) -> None:
    """Step a schedule until it is where it is to be after this share of the training."""
    while scheduler.last_epoch < round(fraction * scheduler.total):  # type: ignore[attr-defined]
        scheduler.step()


def unknown_length(schedule: LearningRateSchedule, length: Length) -> str:
    """What to give for a schedule whose length nobody knows."""
    if length.max_epochs == length.max_steps == math.inf:
        return unlimited(needing(schedule))
    other = ("epoch", "max_epochs") if schedule.interval == "step" else ("step", "max_steps")
    return (
        f"scheduler.interval={schedule.interval}: the training loader has no length, so nobody knows how many "
        f"{schedule.interval}s the training has; use interval {other[0]} with trainer.{other[1]} alone, or give "
        "trainer.limit_train_batches as a whole number"
    )


def needing(schedule: LearningRateSchedule) -> str:
    """Why a schedule needs the training's length, and what needs none."""
    warmup = f" with warmup {schedule.warmup:g}" if schedule.warmup else ""
    return f"scheduler={type(schedule).__name__}{warmup} depends on it (a constant rate without warm-up does not)"


def parts(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    """A scheduler and those that it is put together from."""
    yield scheduler
    for part in getattr(scheduler, "_schedulers", []):
        yield from parts(part)


def horizon(scheduler: LRScheduler) -> float:
    """What a scheduler counts to before it is at its end; 0 where it does not say."""
    if isinstance(scheduler, SequentialLR):
        return scheduler._milestones[-1] + horizon(scheduler._schedulers[-1])
    if isinstance(scheduler, ChainedScheduler):
        return max(horizon(part) for part in scheduler._schedulers)
    if isinstance(scheduler, MultiStepLR):
        return max(scheduler.milestones, default=0)
    if isinstance(scheduler, StepLR):
        return scheduler.step_size
    return max((float(getattr(scheduler, name, 0)) for name in HORIZONS), default=0.0)
