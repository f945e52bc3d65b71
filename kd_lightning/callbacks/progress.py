"""What a training shows while it runs: the progress bar, and in a file a line an epoch."""

import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor

from kd_lightning.learners.names import of_learner
from kd_lightning.tasks import Task
from kd_lightning.terminal import say

TRAIN = "train/"
NARROW, BAR = 100, 12  # columns of a terminal that has no room for times beside the terms; and of the bar there


def of_validation(module: LightningModule) -> list[str]:
    """What a module logs of its validation, what selects first; of several learners that alone, of each."""
    task, learners = getattr(module, "task", None), getattr(module, "learners", [])
    if not isinstance(task, Task):
        return []
    names = names_of(task)
    return [of_learner(names[0], learner) for learner in learners] if len(learners) > 1 else names


@lru_cache(maxsize=1)  # a bar is drawn often, and a task makes its metrics to tell them
def names_of(task: Task) -> list[str]:
    return [f"val/{column.name}" for column in task.validated]


class TermsProgressBar(RichProgressBar):
    """Lightning's, with the total loss, its terms and what selects; silent where there is no terminal.

    Examples:
        >>> import lightning
        >>> from kd_lightning.callbacks import TermsProgressBar
        >>> trainer = lightning.Trainer(callbacks=[TermsProgressBar()], accelerator="cpu", logger=False)
    """

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and sys.stdout.isatty()

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Lightning's columns; in a narrow terminal a shorter bar, without times."""
        description, bar, batches, *times = super().configure_columns(trainer)
        if self._console is not None and self._console.width < NARROW:
            bar.bar_width, times = BAR, []
        return [description, bar, batches, *times]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands behind the bar, by short names."""
        metrics = super().get_metrics(trainer, pl_module)
        shown = {name.removeprefix(TRAIN): value for name, value in metrics.items() if name.startswith(TRAIN)}
        several = max(1, len(getattr(pl_module, "learners", [])))
        watched = [name for name in of_validation(pl_module) if name in metrics]
        return shown | {name.replace("/", " "): metrics[name] for name in watched[:several]}


LOSS = "train/loss"
WAIT = 60.0  # seconds within an epoch


class EpochLines(Callback):
    """A line after each epoch, and within an epoch one a minute, where the output is no terminal."""

    def __init__(self) -> None:
        self._told = 0.0
        self._loss: Tensor | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._told, self._loss = time.monotonic(), None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """See the step's loss: that which was logged last is older where an epoch has few steps."""
        if isinstance(outputs, Mapping) and trainer.world_size == 1:  # of several ranks the mean is logged
            self._loss = outputs["loss"]
        if time.monotonic() - self._told > WAIT:
            self._tell(trainer, (LOSS,))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, (LOSS, *of_validation(pl_module)))

    def _tell(self, trainer: Trainer, names: tuple[str, ...]) -> None:
        """The last loss, and what else was logged last, which waits for the device; so does a checkpoint."""
        self._told = time.monotonic()
        if sys.stdout.isatty():
            return
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        parts = [f"{trainer.current_epoch + 1}{last}", f"step {trainer.global_step}"]
        logged = dict(trainer.callback_metrics)
        if self._loss is not None:
            logged[LOSS] = self._loss * trainer.accumulate_grad_batches  # Lightning has divided it
        parts += [f"{name.removeprefix('train/')} {float(logged[name]):.4g}" for name in names if name in logged]
        say("epoch", ", ".join(parts))
