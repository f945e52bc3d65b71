"""What a training does of which a signal asks that it ends."""

import math
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.callbacks.resuming.agreement import AgreedSignal
from kd_lightning.callbacks.resuming.resumption import at_first_batch_of_validation
from kd_lightning.ranks import hosts, on_any_rank
from kd_lightning.system.interruption import Interrupted, interruption
from kd_lightning.system.peers import peers

ENDING = 20.0  # seconds until those that were saved have ended


class SavedWhenInterrupted(Callback):
    """Saves a checkpoint at the end of the batch in which a signal came, between optimizer steps, and ends.

    In a validation it saves what was before it. Several ranks agree on a signal first, see `AgreedSignal`, and end
    without saving where that takes too long. `requeues`: what Lightning does at SIGUSR1 in a job of SLURM, it does once
    the checkpoint is there.
    """

    def __init__(self, checkpoint: Path, requeues: bool = False) -> None:
        self.checkpoint = checkpoint
        self.requeues = requeues
        self._is_saved = False
        self._is_between_steps = False
        self._before_validation: dict[str, Any] | None = None  # how far the loops were
        self._agreed: AgreedSignal | None = None  # of several ranks
        self._shared = 0  # batches of a validation, which each rank has
        self._requeue: Callable[[int, FrameType | None], Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.requeues and interruption.handles(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # Lightning takes only what nobody has
        if trainer.world_size > 1:
            peers.connect(hosts())

    @property
    def is_signalled(self) -> bool:
        """Whether a signal has come, to one of the ranks, and all know of it."""
        return interruption.signal is not None if self._agreed is None else self._agreed.is_signalled

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)
        self._agreed = AgreedSignal() if trainer.world_size > 1 else None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._agreed is not None:
            self._agreed.begin()  # a batch of the training may take much longer

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._end(trainer)
        interruption.waits = True
        self._is_between_steps, self._before_validation = False, None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._agreed is not None:
            self._agreed.count()
        self._is_between_steps = can_be_saved(trainer, batch_idx)
        if self._is_between_steps and self.is_signalled:
            self._save(trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.sanity_checking or not trainer.fit_loop.epoch_loop.batch_progress.current.ready:
            return
        if batch_idx == dataloader_idx == 0:
            self._before_validation = at_first_batch_of_validation(trainer)
        if self._agreed is not None and dataloader_idx == 0:
            self._agree_in_validation(trainer, self._agreed, batch_idx)
        if self.is_signalled:
            self._save(trainer)
        self._end(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._agreed is not None:
            self._agreed.ask()
        if self.is_signalled and not on_any_rank(self.checkpoint.exists()):
            self._save(trainer)
        interruption.waits = False
        if self._agreed is not None and interruption.signal is not None and not self.is_signalled:
            peers.end_by_signal(interruption.signal)  # it came a moment too late
        interruption.end_if_signalled()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A signal to all processes of a run ends its data loader's workers, too, which is an error."""
        if interruption.signal is None or isinstance(exception, Interrupted) or trainer.world_size > 1:
            return
        if self._is_between_steps and trainer.training:
            self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.validating and self._before_validation is not None:
            checkpoint["loops"]["fit_loop"] = self._before_validation

    def _take(self, trainer: Trainer) -> None:
        """Take the signals from Lightning, which took them a moment ago; its handlers end a process without a word."""
        handler = signal.getsignal(signal.SIGUSR1)
        if self.requeues and callable(handler) and handler is not interruption:
            self._requeue = handler
        if trainer.world_size > 1:
            interruption.end_all = peers.end_by_signal
        interruption.install()

    def _agree_in_validation(self, trainer: Trainer, agreed: AgreedSignal, batch_idx: int) -> None:
        if batch_idx == 0:
            agreed.begin()
            self._shared = agreed.ask(trainer.num_val_batches[0])
        elif batch_idx < self._shared:
            agreed.count()

    def _save(self, trainer: Trainer) -> None:
        if self._is_saved:
            return
        peers.allow(math.inf)
        trainer.save_checkpoint(self.checkpoint)
        peers.allow(ENDING)
        self._is_saved = True
        interruption.place = f"saved after step {trainer.global_step}"

    def _end(self, trainer: Trainer) -> None:
        """End a training that was saved."""
        if interruption.signal is None or not (self.is_signalled and self._is_saved):
            return
        if self._requeue is not None and interruption.signal == signal.SIGUSR1:
            self._requeue(interruption.signal, None)
        interruption.end_if_signalled()


def can_be_saved(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a checkpoint at the end of a batch has it all.

    Gradients that are still accumulating are in none, and Lightning leaves out a validation that is due at once.
    """
    epoch_loop, every = trainer.fit_loop.epoch_loop, trainer.val_check_batch
    count = batch_idx if trainer.check_val_every_n_epoch is not None else epoch_loop.total_batch_idx
    is_before_validation = bool(every) and (count + 1) % every == 0  # type: ignore[operator]
    is_last = epoch_loop.batch_progress.is_last_batch
    return not (trainer.fit_loop._should_accumulate() or is_last or is_before_validation)
