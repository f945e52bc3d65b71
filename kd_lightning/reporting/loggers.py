"""What a run's loggers show of its curriculum, with the page's own pictures."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger

from kd_lightning.reporting.pages.curriculum import pictures
from kd_lightning.runs.curriculum import read_curriculum
from kd_lightning.tracking.results import log_curriculum


def show_curriculum(loggers: Sequence[Logger], folder: Path) -> None:
    """Log what the curriculum of the run in a folder told, where it had one."""
    if (told := read_curriculum(folder)) is not None:
        log_curriculum(loggers, told, pictures(told))
