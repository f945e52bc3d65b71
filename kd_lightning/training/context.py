"""How networks are trained, and what the trainings of an experiment have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer
from typing_extensions import Self

from kd_lightning.callbacks.nonfinite import OnNonFinite
from kd_lightning.data import DataModule
from kd_lightning.part import Part
from kd_lightning.store import Store
from kd_lightning.tasks import Task
from kd_lightning.term import Term
from kd_lightning.tracking.description import Description

SEEDS = 2**32  # so many there are
Terms = Mapping[str, Term]


@dataclass(frozen=True)
class Recipe:
    """How networks are trained.

    Args:
        optimizer: makes the optimizer from the parameters.
        scheduler: a `LearningRateSchedule`, or what makes a scheduler of torch from the optimizer; None: constant.
        trainer: makes the trainer of callbacks, loggers, and arguments that replace its own.
        callbacks: makes the callbacks by name, which write below a folder.
        loggers: makes the loggers, which write below a folder.
        seed: of weights and batches.
        on_nonfinite: `stop` or `skip`, see `DistillationModule`.
        channels_last: whether convolutions work on (B, H, W, C) in memory.
        compile: false, true, or a mode of torch.compile.
    """

    optimizer: Part[Optimizer]
    scheduler: Part[Any] | None
    trainer: Part[Trainer]
    callbacks: Part[dict[str, Callback]]
    loggers: Part[list[Logger]]
    seed: int = 0
    on_nonfinite: OnNonFinite = "stop"
    channels_last: bool = True
    compile: bool | str = False

    def seeds_on(self, by: int) -> Self:
        """The same with another seed, so far from this one."""
        return replace(self, seed=(self.seed + by) % SEEDS) if by else self

    def lasting(self, epochs: int | None) -> Self:
        """The same for so many epochs; None: as long as this one."""
        return self if epochs is None else self._with_trainer(max_epochs=epochs, max_steps=-1)

    def unvalidated(self) -> Self:
        """The same for what no metric tells of: nothing is validated, and no callback watches what would be."""
        kept = {
            name: value
            for name, value in self.callbacks.settings.items()
            if not (isinstance(value, Mapping) and is_of_validation(value.get("monitor")))
        }

        def make(folder: Path) -> dict[str, Callback]:
            made = self.callbacks(folder).items()
            return {name: one for name, one in made if not is_of_validation(getattr(one, "monitor", None))}

        callbacks = Part(make, kept)
        return replace(self._with_trainer(limit_val_batches=0), callbacks=callbacks)

    def _with_trainer(self, **changes: Any) -> Self:
        made, settings = self.trainer, {**self.trainer.settings, **changes}
        return replace(self, trainer=Part(lambda *given, **more: made(*given, **{**changes, **more}), settings))

    def optimization(self) -> dict[str, Any]:
        """A module's `optimizer`, `scheduler` and `on_nonfinite`."""
        return {
            "optimizer": self.optimizer.make,
            "scheduler": None if self.scheduler is None else self.scheduler.make,
            "on_nonfinite": self.on_nonfinite,
        }


def is_of_validation(monitor: Any) -> bool:
    """Whether a logged name is of a validation."""
    return isinstance(monitor, str) and monitor.startswith("val/")


class Alone(NamedTuple):
    """How a network is trained by itself: by which recipe, on which terms, in batches of the data's size or another.

    `curriculum` makes what draws its samples; None: all of them, shuffled.
    """

    recipe: Recipe
    terms: Part[Terms]
    batch_size: int | None = None
    curriculum: Part[Any] | None = None


@dataclass(frozen=True)
class Context:
    """What the trainings of an experiment have in common.

    Args:
        data: the data.
        task: what is measured, knowing the data.
        recipe: how networks are trained, but for what a training says itself.
        alone: how they are trained by themselves, by the key of the config that says so.
        settings: the config that the run began with, as plain values without secrets; it names what is kept.
        folder: the run's.
        store: where runs keep things for one another.
        describe: what loggers are told of a training.
    """

    data: DataModule
    task: Task
    recipe: Recipe
    alone: Mapping[str, Alone]
    settings: Mapping[str, Any]
    folder: Path
    store: Store
    describe: Callable[..., Description]
