"""Asking the teacher all that a training will ask, beforehand."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.utils.data import DataLoader

from kd_lightning.curricula.following import FollowedCurriculum
from kd_lightning.data import ImageDataModule
from kd_lightning.data.batches import ImageSet, ShardedBatches
from kd_lightning.data.views import view_of
from kd_lightning.errors import UserError
from kd_lightning.sources import CachedSource
from kd_lightning.sources.cached import cached_in
from kd_lightning.store.folders import lock_beside
from kd_lightning.system.locks import Busy, take
from kd_lightning.terminal import say

TURN = 60.0  # seconds to wait for another run before the ranks meet: less than any time limit on their meeting


class Prefill(Callback):
    """Keeps the cached sources' answers to all batches to come, each rank to its own, in large batches.

    Of several runs that need the same answers, one asks for them and the others wait. Of a curriculum it asks what is
    drawn for each epoch. Raises UserError for a training without an end, for data that draw their batches in a way of
    their own, and for a curriculum that learns from what it sees.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        for source in cached_in(pl_module):
            if source.answers.records is None:  # they cannot be kept
                continue
            images, sampler = training_batches(trainer.train_dataloader, data, source.key)
            epochs = list(epochs_to_come(trainer, source.key))
            drawn = drawn_ahead(trainer, pl_module, [epoch for epoch, _ in epochs], source.key)
            lock = lock_beside(source.answers.records.path.parent)  # `kd-cache rm` tries it, too
            with held_by_all_ranks(lock, trainer.strategy, source.role):
                for epoch, batches in epochs:
                    views = views_of(images, sampler, epoch, batches, drawn.get(epoch))
                    self.answer(*views, epoch, images, source, trainer, data)

    def answer(
        self,
        rows: Tensor,
        views: Tensor,
        epoch: int,
        images: ImageSet,
        teacher: CachedSource,
        trainer: Trainer,
        data: ImageDataModule,
    ) -> None:
        """Ask the teacher for what is not kept of its answers to these views (B,) of images (B,) in an epoch."""
        if teacher.answers.disk_is_full:
            return
        missing = ~teacher.answers.has(rows, views)
        if missing.any():
            say(teacher.role, f"answering {int(missing.sum()):,} of {len(rows):,} views of epoch {epoch + 1}")
        for index, view in _batches(rows[missing], views[missing], data.eval_batch_size):
            batch = images.batch(index, view)
            # Without the hooks of a transfer, which would augment the images a first time.
            batch = move_data_to_device(teacher.before_transfer(batch), trainer.strategy.root_device)
            with trainer.precision_plugin.forward_context():
                teacher(data.on_after_batch_transfer(batch))


def training_batches(loader: object, data: ImageDataModule, key: str) -> tuple[ImageSet, ShardedBatches]:
    """What the training reads, and in which batches. Raises UserError where a data module has its own way."""
    if isinstance(loader, DataLoader) and isinstance(loader.sampler, ShardedBatches):
        return cast(ImageSet, loader.dataset), loader.sampler
    raise UserError(
        f"{key}=prefill: the data {data.name} have a training loader of their own, whose batches are not known "
        f"beforehand; use {key}=logits"
    )


def drawn_ahead(trainer: Trainer, module: LightningModule, epochs: list[int], key: str) -> dict[int, Tensor]:
    """What a curriculum draws for epochs, positions int64 (M,) each; nothing without one. Raises UserError."""
    followed = getattr(module, "followed", None)
    if not isinstance(followed, FollowedCurriculum):
        return {}
    if followed.curriculum.learns:
        raise UserError(
            f"{key}=prefill: asks beforehand, and what {followed.name} draws depends on what it sees of the training; "
            f"use {key}=logits"
        )
    return followed.ahead(trainer, module, epochs)


def epochs_to_come(trainer: Trainer, key: str) -> Iterator[tuple[int, int]]:
    """Each epoch that is still to come, and how many of its batches. Raises UserError for a training without an end."""
    check_length(trainer.max_epochs, trainer.max_steps, key)
    batches, accumulated = int(trainer.num_training_batches), trainer.accumulate_grad_batches
    steps = trainer.max_steps - trainer.global_step
    epoch: int = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined] # what the sampler gets
    while epoch != trainer.max_epochs and (trainer.max_steps == -1 or steps > 0):
        yield epoch, batches if trainer.max_steps == -1 else min(batches, steps * accumulated)
        steps -= -(-batches // accumulated)  # the last batch of an epoch makes a step in any case
        epoch += 1


def check_length(max_epochs: int | None, max_steps: int, key: str) -> None:
    """Raise UserError for a training without an end, as Lightning's -1 for both says."""
    if max_epochs == max_steps == -1:
        raise UserError(
            f"trainer.max_epochs=-1: {key}=prefill needs the training's length; give trainer.max_steps, or use "
            f"{key}=logits"
        )


def views_of(
    images: ImageSet, sampler: ShardedBatches, epoch: int, batches: int, drawn: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The images of this rank's first so many batches of an epoch, and their views, each once: both int64 (B,)

    `drawn` is what a curriculum has in the epoch.
    """
    sampler = copy.copy(sampler)  # the training's own learns the epoch from the trainer
    if drawn is not None:
        sampler.take(drawn)
    sampler.over = 0
    sampler.set_epoch(epoch)
    draws = list(islice(sampler, batches))
    rows = images.rows[[position for draw in draws for position in draw.positions]]
    again = [repeat for draw in draws for repeat in draw.repeats or [0] * len(draw.positions)]
    assert images.num_views is not None
    views = view_of(images.seed, epoch, rows, images.num_views, torch.tensor(again))
    both = torch.stack([rows, views]).unique(dim=1)
    return both[0], both[1]


@contextmanager
def held_by_all_ranks(path: Path, strategy: Strategy, role: str) -> Iterator[None]:
    """A lock that the first rank takes and gives back for all of them.

    While it waits, the ranks meet after each turn: a meeting that is waited for too long ends the run.
    """
    turn = 0.0
    with ExitStack() as at_end:
        while not strategy.broadcast(strategy.is_global_zero and is_taken(path, turn, at_end)):
            if turn == 0:
                say(role, "waiting for another run, which asks it")
            turn = TURN
        yield
        strategy.barrier()


def is_taken(path: Path, seconds: float, at_end: ExitStack) -> bool:
    """Whether the lock was to be had within so many seconds; it is given back at the end."""
    try:
        at_end.callback(take(path, seconds).release)
    except Busy:
        return False
    except OSError:  # a full disk has no room for a lock either; the answers warn of it
        return True
    return True


def _batches(index: Tensor, view: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(index, size), torch.split(view, size), strict=True)
