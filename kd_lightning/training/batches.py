"""Checking how much of the data a trainer takes: at least one batch of each, and validation within an epoch."""

import copy
import math
from collections.abc import Sized
from typing import Any

from lightning import Trainer

from kd_lightning.data import DataModule
from kd_lightning.errors import UserError


def check_batches(trainer: Any, data: DataModule) -> bool:
    """Whether a training validates at all. Raises `UserError` where a limit leaves no batch, or validation no epoch."""
    data = copy.copy(data)
    data.trainer = trainer  # which knows the ranks
    batches = taken(trainer, "train", data.train_dataloader())
    if data.validates_on != "none":
        taken(trainer, "val", data.val_dataloader())
    taken(trainer, "test", data.test_dataloader())
    interval, per_epoch = trainer.val_check_interval, trainer.check_val_every_n_epoch is not None
    if batches and per_epoch and trainer.limit_val_batches and isinstance(interval, int) and interval > batches:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {batches} batches; give at most as many, or "
            "trainer.check_val_every_n_epoch=null to count them over the epochs"
        )
    return data.validates_on != "none" and validates(trainer, batches)


def validates(trainer: Any, batches: int | None) -> bool:
    """Whether a training of so many batches an epoch comes to its first validation."""
    if batches is None or trainer.val_check_interval is None:
        return bool(trainer.limit_val_batches)
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    within = interval if isinstance(interval, int) else max(1, int(interval * batches))
    first = within if every is None else (every - 1) * batches + within
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs * batches
    steps = math.inf if trainer.max_steps == -1 else trainer.max_steps * trainer.accumulate_grad_batches
    return bool(trainer.limit_val_batches) and first <= min(epochs, steps)


def taken(trainer: Trainer, stage: str, loader: Any) -> int | None:
    """How many of a loader's batches a trainer takes; None where it has no length, or is several loaders.

    Raises UserError where that is none.
    """
    overfits = trainer.overfit_batches > 0 and stage != "test"  # type: ignore[attr-defined]
    key = "overfit_batches" if overfits else f"limit_{stage}_batches"
    limit = getattr(trainer, key)
    if limit == 0 and stage != "val":
        raise UserError(f"trainer.limit_{stage}_batches=0: leaves nothing to {stage}; give at least 1 batch")
    try:
        batches = len(loader) if isinstance(loader, Sized) and not isinstance(loader, (list, dict)) else None
    except TypeError:  # of data without a length
        batches = None
    if batches is None:
        return None
    left = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
    if left == 0 < limit:
        raise UserError(
            f"trainer.{key}={limit}: leaves none of {batches} batches; give a whole number of batches, "
            "or a larger share"
        )
    return left
