"""Training batches of loaders of any kind as a function of seed and epoch, so that a training is taken up exactly."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.combined_loader import _SUPPORTED_MODES, CombinedLoader
from torch.utils.data import DataLoader
from typing_extensions import Self

from kd_lightning.curricula.loaders import DrawnOrder
from kd_lightning.data import ShardedBatches
from kd_lightning.data.derived.peek import generators_of, seeded
from kd_lightning.schedules.length import batches_over
from kd_lightning.store.hashing import fold


class SeededLoader(CombinedLoader):
    """Loaders whose batches follow from the seed, the epoch and the batch's number, whatever was drawn before.

    An epoch begins when its first batch is asked for. The first epoch leaves out `over` batches: they are read, for
    nobody knows what a loader of the user's own does on its way, and not given.
    """

    def __init__(self, given: CombinedLoader, seeds: "Seeds", epoch: Callable[[], int], over: int = 0) -> None:
        super().__init__(given.iterables, given._mode)
        self._limits = given.limits
        self.seeds = seeds
        self.epoch = epoch
        self.over = over
        self.number: int | None = None  # of the next batch; None before the first one
        for loader in self.flattened:
            if isinstance(loader, DataLoader):
                vars(loader)["persistent_workers"] = False  # their random numbers would go on from epoch to epoch
            if isinstance(sampler := getattr(loader, "sampler", None), ShardedBatches | DrawnOrder):
                sampler.over = 0  # these are left out here

    def __iter__(self) -> Self:
        self._iterator = _SUPPORTED_MODES[self._mode]["iterator"](self.flattened, self._limits)
        self.number = None
        return self

    def __next__(self) -> Any:
        assert self._iterator is not None
        if self.number is None:
            self.number = 0
            with seeded(fold(self.seeds.seed, self.epoch())):
                for generator in (found for loader in self.flattened for found in generators_of(loader)):
                    generator.manual_seed(fold(self.seeds.of(generator), self.epoch()))
                iter(self._iterator)
            over, self.over = self.over, 0
            for _ in range(over):
                self._draw()
        return self._draw()

    def _draw(self) -> Any:
        """The next batch. What it draws differs between ranks; the order of the samples is drawn before."""
        assert self.number is not None
        with seeded(fold(self.seeds.seed, self.epoch(), self.number, self.seeds.rank)):
            batch = super().__next__()
        self.number += 1
        return batch


class Seeds:
    """The seed of a training, this rank, and the seeds that generators of the user's own came with."""

    def __init__(self, seed: int, rank: int) -> None:
        self.seed, self.rank = seed, rank
        self._own: dict[int, tuple[torch.Generator, int]] = {}

    def of(self, generator: torch.Generator) -> int:
        """What a generator was seeded with, before any epoch began."""
        return self._own.setdefault(id(generator), (generator, generator.initial_seed()))[1]


class SeededEpochs(Callback):
    """Has loaders of the user's own give in each epoch what they would in a training that nobody interrupts.

    A loader of this package's own does so by itself, and leaves out without a look what is over; see `MidEpoch`.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.seeds: Seeds | None = None
        self.over = 0

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.over = batches_over(checkpoint["loops"]["fit_loop"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_over(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_over(trainer)  # loaders may be new in each epoch

    def _take_over(self, trainer: Trainer) -> None:
        loop = trainer.fit_loop
        given, fetcher = loop._combined_loader, loop._data_fetcher
        if given is None or fetcher is None or isinstance(given, SeededLoader) or is_of_this_package(given.iterables):
            return
        self.seeds = self.seeds or Seeds(self.seed, trainer.global_rank)
        loader = SeededLoader(given, self.seeds, lambda: trainer.current_epoch, self.over)
        loop._combined_loader, self.over = loader, 0
        fetcher.setup(loader)
        iter(fetcher)


def is_of_this_package(loader: object) -> bool:
    """Whether a loader's batches are a function of seed and epoch by themselves."""
    return isinstance(loader, DataLoader) and isinstance(loader.sampler, ShardedBatches)
