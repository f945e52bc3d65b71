"""The batch that devices share: it stays what it was where a run goes on with another number of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.terminal import say

KEY = "shares"  # in a checkpoint
DEVICES = ("trainer.devices", "trainer.strategy", "trainer.num_nodes", "data.batch_size")  # what may change with them


@dataclass(frozen=True)
class Shares:
    """A step's images: so many of each rank in a batch, of so many batches."""

    ranks: int
    size: int
    accumulated: int

    @property
    def total(self) -> int:
        return self.ranks * self.size * self.accumulated

    def on(self, ranks: int, size: int) -> "Shares":
        """The same images a step on another number of ranks, in batches of `size` if that makes as many.

        Batches grow or shrink with the ranks unless another size is given. Raises `UserError` where none makes as many.
        """
        given = Shares(ranks, size, self.accumulated)
        if given.total == self.total:
            return given
        fitting, rest = divmod(self.total, ranks * self.accumulated)
        was = f"the run began with {self.total // self.accumulated} images a batch, {self.size} on each of {self.ranks}"
        if rest:
            raise UserError(f"trainer.devices={ranks}: {was}, which {ranks} cannot share evenly; take another number")
        if size != self.size:
            raise UserError(f"data.batch_size={size}: {was}; with trainer.devices={ranks} give {fitting}")
        return Shares(ranks, fitting, self.accumulated)


class KeptShares(Callback):
    """Keeps in each checkpoint what a step's images were when the training began."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = asdict(self.shares)


def shares_of(checkpoint: Mapping[str, Any]) -> Shares | None:
    return Shares(**checkpoint[KEY]) if KEY in checkpoint else None


def as_before(trainer: Trainer, data: DataModule, checkpoint: Mapping[str, Any]) -> tuple[Shares, DataModule]:
    """What a step's images were when a training began, and the data for as many with this trainer's devices."""
    given = Shares(trainer.world_size, data.batch_size, trainer.accumulate_grad_batches)
    began = shares_of(checkpoint) or given
    now = began.on(given.ranks, given.size)
    if now.ranks != began.ranks:
        each = f"{now.size} on {'each of ' if now.ranks > 1 else ''}{now.ranks}"
        say("batch", f"{began.total // began.accumulated} images, as before: {each}")
    if now.size == data.batch_size:
        return began, data
    return began, data.in_batches_of(now.size)
