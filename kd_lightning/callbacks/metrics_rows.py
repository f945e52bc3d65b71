"""How far metrics.csv was when a checkpoint was written."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.tracking.metrics_file import MetricsFile

ROWS = "metrics_rows"


class MetricsRows(Callback):
    """Notes in each checkpoint how many rows metrics.csv has, and has a resumed training go on behind them."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[ROWS] = [file.sync() for file in files_of(trainer)]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for file, rows in zip(files_of(trainer), checkpoint.get(ROWS, []), strict=False):
            file.go_on(rows, checkpoint["global_step"])


def files_of(trainer: Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
