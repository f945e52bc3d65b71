"""What stands in a file in place of the progress bar."""

import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.callbacks.progress_bar import OF_VALIDATION
from kd_lightning.terminal import say

LOSS = "train/loss"
WAIT = 60.0  # seconds within an epoch


class EpochLines(Callback):
    """A line after each epoch, and within an epoch one a minute, where the output is no terminal."""

    def __init__(self) -> None:
        self._told = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._told = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self._told > WAIT:
            self._tell(trainer, (LOSS,))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, (LOSS, *OF_VALIDATION))

    def _tell(self, trainer: Trainer, names: tuple[str, ...]) -> None:
        """The last values that were logged, which waits for the device; so does a checkpoint."""
        self._told = time.monotonic()
        if sys.stdout.isatty():
            return
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        parts = [f"{trainer.current_epoch + 1}{last}", f"step {trainer.global_step}"]
        logged = trainer.callback_metrics
        parts += [f"{name.removeprefix('train/')} {float(logged[name]):.4g}" for name in names if name in logged]
        say("epoch", ", ".join(parts))
