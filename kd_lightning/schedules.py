"""Values that change with training progress, such as a term's weight."""

from dataclasses import dataclass
from typing import Protocol

from kd_lightning.errors import UserError


@dataclass(frozen=True)
class Progress:
    """How far the training is. `epoch` counts from 0 and has a fraction within the epoch."""

    epoch: float = 0.0
    fraction: float = 0.0


class Schedule(Protocol):
    """A value for each moment of the training."""

    def __call__(self, progress: Progress) -> float: ...


@dataclass(frozen=True)
class Warmup:
    """Rises linearly from 0 to `value` over the first `epochs` epochs."""

    value: float
    epochs: float

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise UserError(f"epochs={self.epochs}: a warm-up lasts longer than 0 epochs; give a plain number instead")

    def __call__(self, progress: Progress) -> float:
        return self.value * min(1.0, progress.epoch / self.epochs)


@dataclass(frozen=True)
class Linear:
    """Moves linearly from `start` to `end` over the whole training."""

    start: float
    end: float

    def __call__(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * min(1.0, progress.fraction)
