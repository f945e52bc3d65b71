"""How much of the data a validation or a test takes."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.batch import as_batch, size_of


class MeasuredPart(Callback):
    """Logs `test/images` or `val/images`, how many were measured, where the trainer limits the batches.

    That is so with `limit_test_batches`, `limit_val_batches`, `fast_dev_run` and `overfit_batches`.
    """

    def __init__(self) -> None:
        self.images = 0

    def on_test_epoch_start(self, *_: Any) -> None:
        self.images = 0

    def on_test_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        self.images += size_of(as_batch(batch))

    def on_test_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._log("test/images", trainer.limit_test_batches, module)

    def on_validation_epoch_start(self, *_: Any) -> None:
        self.images = 0

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.images += size_of(as_batch(batch))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._log("val/images", trainer.limit_val_batches, module)

    def _log(self, name: str, limit: float, module: LightningModule) -> None:
        if isinstance(limit, int) or limit < 1.0:  # 1 is one batch, 1.0 all of them
            module.log(name, float(self.images), reduce_fx="sum", sync_dist=True)
