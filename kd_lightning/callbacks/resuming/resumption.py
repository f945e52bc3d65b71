"""What a training that is taken up again does as it would have done: random numbers, batches, rows of metrics.csv."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from kd_lightning.runs.config import moved
from kd_lightning.runs.metrics_rows import Row
from kd_lightning.schedules.length import batches_over
from kd_lightning.store.hashing import fold
from kd_lightning.tracking.metrics_file import MetricsFile, row_of


class SeededBatches(Callback):
    """Makes the random numbers of a training step, such as dropout's, a function of seed, epoch, batch and rank."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_generators(fold(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank), pl_module.device)


def seed_generators(seed: int, device: torch.device) -> None:
    """What `torch.manual_seed` does to the generators of the CPU and of this device.

    It seeds all devices, and for each kind that is not in use it notes a traceback; a step has no time for that.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


class MidEpoch(Callback):
    """After a checkpoint from within an epoch, has the data module's loader leave out the batches that are over.

    Lightning counts on from there, but would begin with the epoch's first batch. It would also leave out a validation
    that is due at once, miscount after an epoch's last batch, and save again after the same step, with gradients that
    are still accumulating.
    """

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        epoch_loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        if not trainer.training or not is_ending_a_batch(trainer) or fetcher is None:
            return
        if epoch_loop._should_check_val_fx(fetcher):
            checkpoint["loops"]["fit_loop"] = at_first_batch_of_validation(trainer)
        elif epoch_loop.batch_progress.is_last_batch:
            checkpoint["loops"]["fit_loop"] = at_end_of_epoch(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        trainer.datamodule.batches_over = batches_over(checkpoint["loops"]["fit_loop"])  # type: ignore[attr-defined]
        step = checkpoint["global_step"]
        for callback in trainer.checkpoint_callbacks:
            every = callback._every_n_train_steps if isinstance(callback, ModelCheckpoint) else 0
            if every >= 1 and step % every == 0:
                callback._last_global_step_saved = step  # type: ignore[attr-defined]


class MovedFolder(Callback):
    """Where a run's folder was moved, has its checkpoints of the best epochs count as they did in the old place."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state is not None and state["dirpath"] is not None:
                here = moved(state, state["dirpath"], str(callback.dirpath))
                checkpoint["callbacks"][callback.state_key] = here


def is_ending_a_batch(trainer: Trainer) -> bool:
    """Whether a training's batch is over but for what is done at its end."""
    progress = vars(trainer.fit_loop.epoch_loop.batch_progress.current)
    return bool(progress["processed"] > progress["completed"])


def behind_the_batch(trainer: Trainer) -> dict[str, Any]:
    """How far the training's loops are, the batch that may be ending over."""
    state: dict[str, Any] = trainer.fit_loop.state_dict()
    for counts in ("total", "current"):
        count = state["epoch_loop.batch_progress"][counts]
        count["completed"] = count["processed"]
    return state


def at_first_batch_of_validation(trainer: Trainer) -> dict[str, Any]:
    """How far they are, as Lightning takes it for the beginning of a validation to do."""
    state = behind_the_batch(trainer)
    validated = state["epoch_loop.val_loop.batch_progress"]
    validated["current"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    before = validated["total"]["completed"]
    validated["total"] |= {"ready": before + 1, "started": before + 1, "processed": before}
    return state


def at_end_of_epoch(trainer: Trainer) -> dict[str, Any]:
    """How far they will be once the epoch has ended, after which nothing is validated."""
    state = behind_the_batch(trainer)
    state["epoch_loop.state_dict"]["_batches_that_stepped"] += 1
    for counts in ("total", "current"):
        state["epoch_progress"][counts]["processed"] += 1
    return state


ROWS, TO_COME = "metrics_rows", "metrics_row_to_come"


class MetricsRows(Callback):
    """Notes in each checkpoint how many rows metrics.csv has, and which, and has a resumed training go on behind them.

    A checkpoint at the end of a batch comes before that batch's row, and holds it.
    """

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[ROWS] = [file.sync() for file in files_of(trainer)]
        if checkpoint[ROWS]:
            checkpoint[TO_COME] = pending_row(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for file, (rows, told) in zip(files_of(trainer), checkpoint.get(ROWS, []), strict=False):
            file.go_on(rows, told, checkpoint["global_step"], checkpoint.get(TO_COME))


def files_of(trainer: Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]


def pending_row(trainer: Trainer) -> Row | None:
    """What is logged next of the batch that is about to end; None elsewhere, and where nothing is."""
    epoch_loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    is_ending = trainer.training and is_ending_a_batch(trainer)
    if not is_ending or trainer.fit_loop._should_accumulate() or not connector.should_update_logs:
        return None
    metrics = connector.metrics["log"]
    return row_of({"epoch": trainer.current_epoch, **metrics}, epoch_loop._batches_that_stepped) if metrics else None
