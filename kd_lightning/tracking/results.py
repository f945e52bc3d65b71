"""What came out of a training, in every logger that can show it."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from kd_lightning.runs.curriculum import Told
from kd_lightning.tracking.outcome import Outcome
from kd_lightning.tracking.tensorboard import logger as tensorboard
from kd_lightning.tracking.wandb import curriculum
from kd_lightning.tracking.wandb import results as wandb


def log_results(loggers: Sequence[Logger], outcome: Outcome) -> None:
    """Show what came out of a training where it was logged; metrics.csv has its scalars already."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            wandb.log(logger, outcome)
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.log_outcome(logger, outcome)


def log_curriculum(loggers: Sequence[Logger], told: Told, pictures: Mapping[str, Mapping[str, Any]]) -> None:
    """Show what a curriculum told; its values are among the scalars already, and in TensorBoard its decisions."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            curriculum.log(logger, told, pictures)
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.log_concepts(logger, told)
