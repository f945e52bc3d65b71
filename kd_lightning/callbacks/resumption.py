"""What a training that is taken up again does as it would have done: random numbers, and the batches of an epoch."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from kd_lightning.hashing import fold
from kd_lightning.moved_paths import moved


class SeededBatches(Callback):
    """Makes the random numbers of a training step, such as dropout's, a function of seed, epoch, batch and rank."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(fold(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank))


class MidEpoch(Callback):
    """After a checkpoint from within an epoch, has the data module's loader leave out the batches that are over.

    Lightning counts on from there, but would begin with the epoch's first batch.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        trainer.datamodule.batches_over = batches_over(checkpoint["loops"]["fit_loop"])  # type: ignore[attr-defined]


class MovedFolder(Callback):
    """Where a run's folder was moved, has its checkpoints of the best epochs count as they did in the old place."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state is not None and state["dirpath"] is not None:
                here = moved(state, state["dirpath"], str(callback.dirpath))
                checkpoint["callbacks"][callback.state_key] = here


def batches_over(fit_loop: dict[str, Any]) -> int:
    """How many batches of its epoch a checkpoint has behind it; 0 at an epoch's end."""
    epochs, batches = fit_loop["epoch_progress"]["current"], fit_loop["epoch_loop.batch_progress"]
    is_within = epochs["started"] > epochs["processed"] and not batches["is_last_batch"]
    over: int = batches["current"]["ready"]
    return over if is_within else 0
