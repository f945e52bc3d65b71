"""Loggers as a training begins, or is looked at again: which there are, and what they are told of it."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from kd_lightning.tracking.description import Description
from kd_lightning.tracking.metrics_file import MetricsFile
from kd_lightning.tracking.tensorboard import logger as tensorboard
from kd_lightning.tracking.wandb.logger import TrainingWandbLogger, is_of_an_agent


def of_this_training(loggers: Sequence[Logger], is_of_the_run: bool) -> list[Logger]:
    """All but Weights & Biases where its agent wants one run of this process: that of the training it is about."""
    left_out = not is_of_the_run and is_of_an_agent()
    return [logger for logger in loggers if not (left_out and isinstance(logger, WandbLogger))]


def describe_training(loggers: Sequence[Logger], training: Description, folder: Path, resumed: bool) -> None:
    """Tell the loggers what is trained, by which config; `folder` is the training's own."""
    for logger in loggers:
        if isinstance(logger, TrainingWandbLogger):
            logger.describe(training, folder, resumed)
        if isinstance(logger, TensorBoardLogger):
            tensorboard.log_config(logger, training.config, training.compared)
        else:
            logger.log_hyperparams(training.config)


def resumed(loggers: Sequence[Logger], folder: Path) -> list[Logger]:
    """Those that can go on with what they wrote of the finished training in `folder`."""
    logged = [logger for logger in loggers if not isinstance(logger, TrainingWandbLogger) or logger.resume(folder)]
    return [logger for logger in logged if not isinstance(logger, MetricsFile)]
