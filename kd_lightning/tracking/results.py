"""What came out of a training, in every logger that can show it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from kd_lightning.columns import VALIDATED, compared_by
from kd_lightning.tracking.arrays import ROLES
from kd_lightning.tracking.outcome import COST, Outcome
from kd_lightning.tracking.tensorboard import logger as tensorboard
from kd_lightning.tracking.wandb import results as wandb


def log_results(
    loggers: Sequence[Logger],
    role: str,
    record: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    weights: Path | None = None,
) -> None:
    """Show what came out of a training where it was logged; metrics.csv has its scalars already.

    Args:
        loggers: the trainer's.
        role: `teacher`, `scratch` or `student`.
        record: the test metrics of a teacher or of the student alone; of the distilled student the run's summary.
        arrays: what the test left for figures, and what the task knows of the data.
        weights: the student's file.
    """
    networks = {name: record[name] for name in ROLES if record.get(name)} if role == "student" else {}
    data = record["data"]["name"] if networks else ""
    compared = compared_by(record) if networks else None
    outcome = Outcome(own_metrics(role, record), networks, arrays, compared, data, weights)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            wandb.log(logger, outcome)
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.log_outcome(logger, outcome)


def own_metrics(role: str, record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one training; of a student also those it is compared with, and what distillation brought."""
    if role != "student":
        return tested_and_validated(record)
    student, scratch = record["student"], record.get("scratch")
    metrics = _numbers(record["time"], "time/") | _numbers({name: student[name] for name in COST}, "student/")
    metrics |= _numbers(record["memory"], "memory/")
    metrics |= tested_and_validated({name: value for name, value in student.items() if name not in COST})
    for other in ("teacher", "scratch"):
        metrics |= _numbers(record.get(other) or {}, f"{other}/")
    if (compared := compared_by(record)) is not None and scratch:
        column = compared.selects_on
        ours, alone = student.get(column.name), scratch.get(column.name)
        if ours is not None and alone is not None:
            metrics[f"gain/{column.name}"] = column.sign * (ours - alone)
    return metrics


def tested_and_validated(record: Mapping[str, Any]) -> dict[str, float]:
    """A network's metrics by the data that they come from."""
    validated = {name: value for name, value in record.items() if name.endswith(VALIDATED)}
    tested = {name: value for name, value in record.items() if name not in validated}
    return _numbers(tested, "test/") | _numbers(
        {n.removesuffix(VALIDATED): v for n, v in validated.items()}, "validation/"
    )


def _numbers(record: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in record.items() if isinstance(value, (int, float))}
