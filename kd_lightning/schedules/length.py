"""How long a training is, in optimizer steps and in epochs."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer

from kd_lightning.schedules.progress import Assessment, Progress

WHEN_UNLIMITED = 1000  # epochs that Lightning trains where it is given no limit


@dataclass(frozen=True)
class Length:
    """A training's limits, and the optimizer steps of its epochs; infinite where there is none, or nobody knows.

    `steps_from` maps an epoch to the steps that it and those after it have; it begins with epoch 0. `is_open` says that
    those of the epochs to come are not known, but what is given: the training is then as far as its epochs are.
    """

    max_epochs: float
    max_steps: float
    steps_from: Mapping[int, float]
    is_open: bool = False

    def with_epochs(self, steps: Mapping[int, float]) -> "Length":
        """The same for epochs that turned out to have other steps: those that an epoch, and the last one on, have."""
        return replace(self, steps_from={0: self.steps_from[0], **steps}, is_open=True)

    @cached_property
    def steps(self) -> float:
        """The optimizer steps of the whole training."""
        return min(self.max_steps, self._step_of(self.max_epochs))

    @cached_property
    def epochs(self) -> float:
        """The epochs that the whole training begins, a last one that it does not complete included."""
        if math.isfinite(self.steps_from[0]):
            return min(self.max_epochs, math.ceil(self._epoch_of(self.max_steps)) if self._has_steps else math.inf)
        return math.inf if self._has_steps else self.max_epochs

    def progress(self, step: int, epoch: int, assessment: Assessment | None = None) -> Progress:
        """How far a training is after so many steps, and a validation; without its length `fraction` stays 0.

        `epoch` counts the complete ones, for loaders without length.
        """
        exact = self._epoch_of(step) if math.isfinite(self.steps_from[0]) else float(epoch)
        steps = self.max_steps if self.is_open else self.steps
        fraction = max(step / steps, exact / self.max_epochs) if steps and self.max_epochs else 1.0
        return Progress(epoch=exact, fraction=min(1.0, fraction), assessment=assessment, epochs=self.epochs)

    @property
    def _has_steps(self) -> bool:
        return math.isfinite(self.max_steps)

    def _step_of(self, epoch: float) -> float:
        """How many steps come before an epoch."""
        step = 0.0
        for first, last, steps in self._phases():
            step += steps * max(0.0, min(epoch, last) - first) if epoch > first else 0.0
        return step

    def _epoch_of(self, step: float) -> float:
        """How many epochs, and parts of one, so many steps make."""
        for first, last, steps in self._phases():
            if step <= (last - first) * steps:
                return first + step / steps
            step -= (last - first) * steps
        raise AssertionError("the last phase has no end")

    def _phases(self) -> Iterator[tuple[int, float, float]]:
        """First epoch, the epoch after the last one, and the steps of each between."""
        starts = sorted(self.steps_from)
        for first, last in zip(starts, [*starts[1:], math.inf], strict=True):
            yield first, last, self.steps_from[first]


class TimedModule(LightningModule):
    """A module that knows how long its training is, and how far."""

    assessment: Assessment | None = None  # by the latest validation, where a curriculum or schedules follow it

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes some 45 times a step which hook runs; nn.Module would search its parameters for it each time.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def setup(self, stage: str) -> None:
        self.__dict__.pop("length", None)  # another training of the same module may have another

    @cached_property
    def length(self) -> Length:
        """How long the current training is."""
        return length_of(self.trainer)

    def progress(self) -> Progress:
        """How far the training is; `fraction` stays 0 where the trainer sets no limit."""
        return self.length.progress(self.global_step, self.current_epoch, self.assessment)


def length_of(trainer: Trainer) -> Length:
    """The length of the training that a trainer begins; sets up its training loader, whose length it takes."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    accumulated = accumulation(trainer)
    batches = trainer.num_training_batches
    steps = {
        epoch: max(1, math.ceil(batches / count)) if batches < math.inf else math.inf
        for epoch, count in accumulated.items()
    }
    return Length(limit(max_epochs(trainer)), limit(trainer.max_steps), steps)


def accumulation(trainer: Trainer) -> Mapping[int, int]:
    """Of how many batches a step is, from which epoch on; it begins with epoch 0."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler):
            found: Mapping[int, int] = callback.scheduling
            return found
    return {0: trainer.accumulate_grad_batches}


def max_epochs(trainer: Trainer) -> int:
    """The trainer's limit of epochs, -1 for none; where it was given none, what Lightning makes of that."""
    if trainer.max_epochs is not None:
        return trainer.max_epochs
    is_timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    return -1 if is_timed or trainer.max_steps != -1 else WHEN_UNLIMITED


def is_unlimited(trainer: Trainer) -> bool:
    """Whether neither epochs nor steps limit the training: time may, or whoever stops it."""
    return max_epochs(trainer) == trainer.max_steps == -1


def limit(value: int) -> float:
    return math.inf if value == -1 else value


def unlimited(reason: str) -> str:
    """What is wrong with a training without end where its length is asked for."""
    return (
        f"trainer.max_epochs=-1: the training's length is not known, and {reason}; give trainer.max_epochs or "
        "trainer.max_steps, which may stand beside trainer.max_time"
    )


def begin_next_epoch(trainer: Trainer, loops: Mapping[str, Any]) -> None:
    """Let a training whose `loops` a checkpoint holds begin with the next epoch, if it was saved after a whole one.

    Where `max_steps` limits it, Lightning would go on in the epoch that is over: with one more batch of it, or one more
    step of what is stepped by epochs.
    """
    progress = loops["fit_loop"]["epoch_progress"]["current"]
    if progress["ready"] == progress["started"] == progress["processed"]:
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def batches_over(fit_loop: Mapping[str, Any]) -> int:
    """How many batches of its epoch a checkpoint has behind it; 0 at an epoch's end."""
    epochs, batches = fit_loop["epoch_progress"]["current"], fit_loop["epoch_loop.batch_progress"]
    is_within = epochs["started"] > epochs["processed"] and not batches["is_last_batch"]
    over: int = batches["current"]["ready"]
    return over if is_within else 0
