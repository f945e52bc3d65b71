"""Values that change with training progress, such as a term's weight."""

import math
from dataclasses import dataclass
from typing import Protocol

from kd_lightning.errors import UserError

ROUNDING = 1e-9  # an epoch's first step must not count as the last of the one before


@dataclass(frozen=True)
class Progress:
    """How far the training is. `epoch` counts from 0 and has a fraction within the epoch."""

    epoch: float = 0.0
    fraction: float = 0.0


class Schedule(Protocol):
    """A value for each moment of the training."""

    def __call__(self, progress: Progress) -> float: ...


def needs_length(schedule: Schedule) -> bool:
    """Whether a schedule asks which share of the training is over."""
    try:
        schedule(_WithoutLength())  # type: ignore[arg-type]
    except _FractionAskedError:
        return True
    return False


class _FractionAskedError(Exception):
    pass


class _WithoutLength:
    """The progress of a training without a length."""

    epoch = 0.0

    @property
    def fraction(self) -> float:
        raise _FractionAskedError


@dataclass(frozen=True)
class Warmup:
    """Rises to `value` over the first epochs: value·min(1, e/epochs) in epoch e = 1, 2, …, as in mdistiller."""

    value: float
    epochs: float

    def __post_init__(self) -> None:
        _check_numbers(value=self.value)
        if not self.epochs > 0:
            raise UserError(f"epochs={self.epochs}: a warm-up lasts longer than 0 epochs; give a plain number instead")

    def __call__(self, progress: Progress) -> float:
        current = math.floor(progress.epoch + ROUNDING) + 1 if math.isfinite(progress.epoch) else math.inf
        return self.value * min(1.0, current / self.epochs)


@dataclass(frozen=True)
class Linear:
    """Moves linearly from `start` to `end` over the whole training."""

    start: float
    end: float

    def __post_init__(self) -> None:
        _check_numbers(start=self.start, end=self.end)

    def __call__(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * min(1.0, progress.fraction)


def _check_numbers(**values: float) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f"{name}={value}: must be a finite number")
