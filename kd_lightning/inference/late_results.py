"""Results that come after a run's end: a sweep tests the run that it selected."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from kd_lightning.config.parts.objects import make_loggers
from kd_lightning.runs.summary import Summary
from kd_lightning.tracking.loggers import resumed
from kd_lightning.tracking.outcome import outcome_of
from kd_lightning.tracking.results import log_results
from kd_lightning.tracking.wandb.logger import one_wandb_run


def log_later(
    config: DictConfig,
    folder: Path,
    summary: Summary,
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Show the summary of a finished run where the run was logged, in the same Weights & Biases run."""
    with one_wandb_run():
        loggers = resumed(make_loggers(config, folder), folder)
        log_results(loggers, outcome_of(summary, arrays))
        for logger in loggers:
            logger.finalize("success")
