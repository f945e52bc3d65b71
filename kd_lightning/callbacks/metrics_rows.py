"""How far metrics.csv was when a checkpoint was written."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.callbacks.resumption import is_ending_a_batch
from kd_lightning.tracking.metrics_file import MetricsFile, row_of
from kd_lightning.tracking.metrics_rows import Row

ROWS, TO_COME = "metrics_rows", "metrics_row_to_come"


class MetricsRows(Callback):
    """Notes in each checkpoint how many rows metrics.csv has, and has a resumed training go on behind them.

    A checkpoint at the end of a batch comes before that batch's row, and holds it.
    """

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[ROWS] = [file.sync() for file in files_of(trainer)]
        if checkpoint[ROWS]:
            checkpoint[TO_COME] = row_to_come(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for file, rows in zip(files_of(trainer), checkpoint.get(ROWS, []), strict=False):
            file.go_on(rows, checkpoint["global_step"], checkpoint.get(TO_COME))


def files_of(trainer: Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]


def row_to_come(trainer: Trainer) -> Row | None:
    """What is logged next of the batch that is about to end; None elsewhere, and where nothing is."""
    epoch_loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    is_ending = trainer.training and is_ending_a_batch(trainer)
    if not is_ending or trainer.fit_loop._should_accumulate() or not connector.should_update_logs:
        return None
    metrics = connector.metrics["log"]
    return row_of({"epoch": trainer.current_epoch, **metrics}, epoch_loop._batches_that_stepped) if metrics else None
