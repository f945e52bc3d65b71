"""What came out of a training, in every logger that can show it."""

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from kd_lightning.tracking.outcome import Outcome
from kd_lightning.tracking.tensorboard import logger as tensorboard
from kd_lightning.tracking.wandb import results as wandb


def log_results(loggers: Sequence[Logger], outcome: Outcome) -> None:
    """Show what came out of a training where it was logged; metrics.csv has its scalars already."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            wandb.log(logger, outcome)
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.log_outcome(logger, outcome)
