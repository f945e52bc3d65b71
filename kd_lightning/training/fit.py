"""Fitting one module with a fresh trainer."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from kd_lightning.callbacks import (
    Compilation,
    EpochLines,
    LRFinder,
    MetricsRows,
    MidEpoch,
    MovedFolder,
    SavedWhenInterrupted,
    SeededBatches,
    SeededEpochs,
    Throughput,
    for_learners,
)
from kd_lightning.callbacks.resuming.checkpoint_files import usable, warn_of_damage
from kd_lightning.curricula.accounts import CurriculumFile
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import NonFinite
from kd_lightning.module import DistillationModule
from kd_lightning.runs.files import CHECKPOINTS, CURRICULUM, LAST
from kd_lightning.sources.cached import cached_in
from kd_lightning.system.interruption import Interrupted, interruption
from kd_lightning.terminal import say, show
from kd_lightning.tracking.description import Description
from kd_lightning.tracking.loggers import describe_training, of_this_training
from kd_lightning.tracking.outcome import FOUND_LR
from kd_lightning.training.context import Recipe
from kd_lightning.training.memory_format import use_channels_last
from kd_lightning.training.ranks.launcher import launch_with_peers
from kd_lightning.training.ranks.shares import KeptShares, as_before
from kd_lightning.training.ranks.unreached import without_unreached

QUIET = (
    "does not have many workers",
    "smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",
    "Trying to infer the `batch_size`",
    "is not configurable",
    "Starting from v1.9.0, `tensorboardX`",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
    "The number of training batches",
    "could not find the monitored key",
    "Experiment logs directory",
    "You have overridden `on_before_batch_transfer`",
    "The epoch parameter in `scheduler.step",  # torch 2.6, of its own schedule after a warm-up
    "You're resuming from a checkpoint that ended before the epoch ended",  # whose loader leaves out what is over
)


@dataclass(frozen=True)
class Fit:
    """A finished training: its trainer, and its time (`fit_s`, `images_per_s`)."""

    trainer: Trainer
    time: dict[str, float]

    def found(self, learner: str) -> dict[str, float | None]:
        """The learning rate that was found for a learner; empty where none was looked for."""
        for one in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(one, LRFinder) and learner in one.found:
                return {FOUND_LR: one.found[learner]}
        return {}


def quiet() -> None:
    """Keep Lightning's hints that mean nothing here off the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message=f".*{message}")


def keep_profile(trainer: Trainer, logs: Path) -> None:
    """Have the trainer's profiler write beside the logs, unless it has a place of its own: Lightning only logs it."""
    profiler: Profiler = trainer.profiler  # type: ignore[attr-defined]
    if not isinstance(profiler, PassThroughProfiler):
        profiler.dirpath = profiler.dirpath or logs
        profiler.filename = profiler.filename or "profile"


def show_profile(trainer: Trainer) -> None:
    """Print what the trainer's profiler wrote of a training."""
    profiler: Profiler = trainer.profiler  # type: ignore[attr-defined]
    if isinstance(profiler, PassThroughProfiler):
        return
    for file in sorted(Path(str(profiler.dirpath)).glob(f"fit-{profiler.filename}*.txt")):
        show(file.read_text())
        say("profile", str(file))


def own_callbacks(recipe: Recipe, folder: Path, beside: Sequence[Callback]) -> list[Callback]:
    """The callbacks that a training in `folder` has beside those of its recipe; those `beside` it among them."""
    callbacks: list[Callback] = [
        SeededBatches(recipe.seed),
        SeededEpochs(recipe.seed),
        MidEpoch(),
        MovedFolder(),
        MetricsRows(),
        Throughput(),
    ]
    if recipe.compile:
        callbacks.insert(0, Compilation("default" if recipe.compile is True else recipe.compile))
    requeues = "SLURMEnvironment" in str(recipe.trainer.settings.get("plugins"))
    return [*callbacks, *beside, EpochLines(), SavedWhenInterrupted(folder / CHECKPOINTS / LAST, requeues)]


def fit(
    recipe: Recipe,
    module: DistillationModule,
    data: DataModule,
    folder: Path,
    logs: Path,
    description: Description,
    beside: Sequence[Callback] = (),
) -> Fit:
    """Train a module, from checkpoints/last.ckpt in `folder` where an interrupted training left one.

    What is logged goes below `logs`. The callbacks `beside` it are no part of the recipe.

    Raises NonFinite where a number goes wrong, and Interrupted where a signal ends it.
    """
    quiet()
    if recipe.channels_last:
        use_channels_last(module, example_input(data))
    own = for_learners(recipe.callbacks(folder).values(), module.learners)
    told = [] if module.followed is None else [CurriculumFile(logs / CURRICULUM, module.followed.accounts)]
    callbacks = [*own, *own_callbacks(recipe, folder, [*beside, *told])]
    trainer = recipe.trainer(callbacks, of_this_training(recipe.loggers(logs), description.is_result))
    launch_with_peers(trainer)
    last = usable(folder / CHECKPOINTS)
    if last is not None:
        warn_of_damage(last)
        stored = torch.load(last, map_location="cpu", weights_only=True)
        say("resuming", f"after step {stored['global_step']}, in epoch {stored['epoch']}")
    shares, data = as_before(trainer, data, {} if last is None else stored)
    trainer.callbacks.append(KeptShares(shares))  # type: ignore[attr-defined]
    describe_training(trainer.loggers, description, folder, last is not None)
    seed_everything(recipe.seed, workers=True, verbose=False)
    keep_profile(trainer, logs)
    several = trainer.world_size > 1
    try:
        reached = without_unreached(module, dict(data.streams) or data.example()) if several else nullcontext()
        with interruption.handled(), reached, nullcontext() if module.teacher is None else closing(module.teacher):
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    except NonFinite as error:
        raise NonFinite(f"{description.role}: {error}") from error
    except Exception as error:
        if interruption.signal is not None:
            raise Interrupted(interruption.signal) from error
        raise
    if module.finite.skipped:
        say("skipped", f"{module.finite.skipped} steps of the {description.role}, which were not finite")
    if trainer.is_global_zero:
        show_profile(trainer)
    for source in cached_in(module):
        if source.answers.divergence is not None:
            say("teacher", f"what is kept differs from its answers by {source.answers.divergence:.1e} nats")
    throughput = next(c for c in trainer.callbacks if isinstance(c, Throughput))  # type: ignore[attr-defined]
    return Fit(trainer, {"fit_s": throughput.fit_s, "images_per_s": throughput.images_per_s})
