"""Random numbers that a resumed training draws again."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.hashing import fold


class SeededEpochs(Callback):
    """Makes the random numbers of a training epoch, such as dropout's, a function of seed, epoch and rank."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Not in on_train_epoch_start: the loader's iterator draws a number too, after it, but before it on resuming.
        if batch_idx == 0:
            torch.manual_seed(fold(self.seed, trainer.current_epoch, trainer.global_rank))
