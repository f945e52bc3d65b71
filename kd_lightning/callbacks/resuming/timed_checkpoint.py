"""Checkpoints by the clock."""

from datetime import timedelta
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from kd_lightning.callbacks.resuming.interruption import can_be_saved
from kd_lightning.errors import UserError


class TimedCheckpoint(ModelCheckpoint):
    """Writes `last.ckpt` in `dirpath` every so many minutes, within an epoch too, so that a kill costs minutes.

    Between optimizer steps alone, and not where a validation is next; see `can_be_saved`.

    Raises UserError for `every_minutes` of 0 or less, or of more than a time can have.

    Examples:
        >>> import lightning
        >>> from kd_lightning.callbacks import TimedCheckpoint
        >>> checkpoints = TimedCheckpoint("checkpoints", every_minutes=10)
        >>> trainer = lightning.Trainer(callbacks=[checkpoints], accelerator="cpu", logger=False)
    """

    def __init__(self, dirpath: str, every_minutes: float) -> None:
        if not isinstance(every_minutes, (int, float)) or not every_minutes > 0:
            raise UserError(f"every_minutes={every_minutes}: must be above 0; a callback of null writes none")
        try:
            interval = timedelta(minutes=every_minutes)
        except OverflowError:
            raise UserError(
                f"every_minutes={every_minutes}: is longer than a time can be; a callback of null writes none"
            ) from None
        super().__init__(dirpath, "last", train_time_interval=interval, enable_version_counter=False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if can_be_saved(trainer, batch_idx):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
