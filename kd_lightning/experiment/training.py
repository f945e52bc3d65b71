"""Fitting one module with a fresh trainer."""

import copy
import logging
import warnings
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from omegaconf import DictConfig

from kd_lightning.callbacks import (
    Compilation,
    EpochLines,
    MetricsRows,
    MidEpoch,
    MovedFolder,
    SavedWhenInterrupted,
    SeededBatches,
    SeededEpochs,
    Throughput,
)
from kd_lightning.callbacks.checkpoint_files import CheckpointFiles, usable, warn_of_damage
from kd_lightning.data import DataModule
from kd_lightning.data.data import example_input
from kd_lightning.errors import NonFinite
from kd_lightning.experiment.checks.unreached import without_unreached
from kd_lightning.experiment.folder.description import describe
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.experiment.networks.memory_format import use_channels_last
from kd_lightning.experiment.ranks.launcher import launch_with_peers
from kd_lightning.experiment.ranks.shares import KeptShares, as_before
from kd_lightning.experiment.task import with_monitors
from kd_lightning.module import DistillationModule
from kd_lightning.runs.files import CHECKPOINTS, LAST
from kd_lightning.sources.cached import cached_in
from kd_lightning.system.interruption import Interrupted, interruption
from kd_lightning.terminal import say, show
from kd_lightning.tracking.loggers import describe_training, of_this_training

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


def quiet() -> None:
    """Keep Lightning's hints that mean nothing here off the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in QUIET:
        warnings.filterwarnings("ignore", message=f".*{message}")


def at(config: DictConfig, folder: Path) -> DictConfig:
    """The config with another folder to write into."""
    config = copy.deepcopy(config)
    config.paths.output_dir = str(folder)
    return config


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


def make_callbacks(config: DictConfig, folder: Path) -> dict[str, Callback]:
    """The config's callbacks by name, which write below `folder`."""
    callbacks = with_monitors(at(config, folder)).callbacks or {}
    return {str(name): make(callback, f"callbacks.{name}") for name, callback in callbacks.items() if callback}


def make_loggers(config: DictConfig, logs: Path) -> list[Logger]:
    """The config's loggers, which write below `logs`."""
    loggers = at(config, logs).logger or {}
    return [make(logger, f"logger.{name}") for name, logger in loggers.items() if logger]


def make_trainer(config: DictConfig, callbacks: Sequence[Callback], loggers: Sequence[Logger]) -> Trainer:
    """The config's trainer with these callbacks and loggers."""
    shown = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if not loggers:  # which the learning rate's monitor would ask for
        callbacks = [callback for callback in callbacks if not isinstance(callback, LearningRateMonitor)]
    return make(
        config.trainer,
        "trainer",
        lambda part: instantiate(
            part, callbacks=callbacks, logger=loggers or False, plugins=plugins_of(part), enable_progress_bar=shown
        ),
    )


def plugins_of(trainer: DictConfig) -> list[Any]:
    """The config's plugins, and one that writes checkpoints whole unless one of these writes them."""
    given = instantiate(trainer.get("plugins")) or []
    plugins = [*given] if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    writes = any(isinstance(plugin, CheckpointIO) for plugin in plugins)
    return plugins if writes else [*plugins, CheckpointFiles()]


def own_callbacks(config: DictConfig, folder: Path, of_teacher: Sequence[Callback]) -> list[Callback]:
    """The callbacks that a training in `folder` has beside those of the config, its teacher's among them."""
    callbacks: list[Callback] = [
        SeededBatches(config.seed),
        SeededEpochs(config.seed),
        MidEpoch(),
        MovedFolder(),
        MetricsRows(),
        Throughput(),
    ]
    if config.compile:
        callbacks.insert(0, Compilation("default" if config.compile is True else config.compile))
    requeues = "SLURMEnvironment" in str(config.trainer.get("plugins"))
    return [*callbacks, *of_teacher, EpochLines(), SavedWhenInterrupted(folder / CHECKPOINTS / LAST, requeues)]


def fit(
    config: DictConfig,
    module: DistillationModule,
    data: DataModule,
    folder: Path,
    logs: Path,
    role: str,
    title: str,
    of_teacher: Sequence[Callback] = (),
) -> Fit:
    """Train a module, from checkpoints/last.ckpt in `folder` where an interrupted training left one.

    `config` is that of this training; see `recipe_of`. `role` is `teacher`, `scratch` or `student`; the first two have
    their `logs` below the run's folder. `title` names the networks, and the callbacks `of_teacher` stand beside the
    training.

    Raises NonFinite where a number goes wrong, and Interrupted where a signal ends it.
    """
    quiet()
    if config.channels_last:
        use_channels_last(module, example_input(data))
    callbacks = [*make_callbacks(config, folder).values(), *own_callbacks(config, folder, of_teacher)]
    trainer = make_trainer(config, callbacks, of_this_training(make_loggers(config, logs), role == "student"))
    launch_with_peers(trainer)
    last = usable(folder / CHECKPOINTS)
    if last is not None:
        warn_of_damage(last)
        stored = torch.load(last, map_location="cpu", weights_only=True)
        say("resuming", f"after step {stored['global_step']}, in epoch {stored['epoch']}")
    shares, data = as_before(trainer, data, {} if last is None else stored)
    trainer.callbacks.append(KeptShares(shares))  # type: ignore[attr-defined]
    training = describe(config, role, title, data, module.task, logs if role == "student" else logs.parent)
    describe_training(trainer.loggers, training, folder, last is not None)
    seed_everything(config.seed, workers=True, verbose=False)
    keep_profile(trainer, logs)
    several = trainer.world_size > 1
    try:
        reached = without_unreached(module, dict(data.streams) or data.example()) if several else nullcontext()
        with interruption.handled(), reached, nullcontext() if module.teacher is None else closing(module.teacher):
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    except NonFinite as error:
        raise NonFinite(f"{role}: {error}") from error
    except Exception as error:
        if interruption.signal is not None:
            raise Interrupted(interruption.signal) from error
        raise
    if module.finite.skipped:
        say("skipped", f"{module.finite.skipped} steps of the {role}, which were not finite")
    if trainer.is_global_zero:
        show_profile(trainer)
    for source in cached_in(module):
        if source.answers.divergence is not None:
            say("teacher", f"what is kept differs from its answers by {source.answers.divergence:.1e} nats")
    throughput = next(c for c in trainer.callbacks if isinstance(c, Throughput))  # type: ignore[attr-defined]
    return Fit(trainer, {"fit_s": throughput.fit_s, "images_per_s": throughput.images_per_s})
