"""Fitting and testing one module with a fresh trainer."""

import copy
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig
from torch import nn

from kd_lightning.callbacks import Prefill, Throughput
from kd_lightning.data import ImageDataModule
from kd_lightning.inspection import plain
from kd_lightning.module import DistillationModule
from kd_lightning.reporting.terminal import say
from kd_lightning.teachers import LogitsOf, Teacher
from kd_lightning.tracking.metrics_file import join_metrics, keep_metrics

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


def make_trainer(config: DictConfig, folder: Path, logs: Path) -> Trainer:
    """The config's trainer; its callbacks write below `folder`, its loggers below `logs`."""
    callbacks = [instantiate(callback) for callback in (at(config, folder).callbacks or {}).values() if callback]
    loggers = [instantiate(logger) for logger in (at(config, logs).logger or {}).values() if logger]
    shown = any(isinstance(callback, ProgressBar) for callback in callbacks)
    callbacks = [*callbacks, Throughput(), *([Prefill()] if config.teacher.get("cache") == "prefill" else [])]
    return instantiate(config.trainer, callbacks=callbacks, logger=loggers or False, enable_progress_bar=shown)


def fit(config: DictConfig, module: DistillationModule, data: ImageDataModule, folder: Path, logs: Path) -> Fit:
    """Train a module, from checkpoints/last.ckpt in `folder` where an interrupted training left one."""
    quiet()
    trainer = make_trainer(config, folder, logs)
    last = folder / "checkpoints" / "last.ckpt"
    resumed = last.exists()
    if resumed:
        stored = torch.load(last, map_location="cpu", weights_only=True)
        say("resuming", f"after epoch {stored['epoch']}")
        if trainer.is_global_zero:
            keep_metrics(logs, stored["global_step"])
    for logger in trainer.loggers:
        if not isinstance(logger, CSVLogger):  # beside metrics.csv the config is in .hydra/ already
            logger.log_hyperparams(plain(config))
    seed_everything(config.seed, workers=True, verbose=False)
    trainer.fit(module, datamodule=data, ckpt_path=str(last) if resumed else None, weights_only=True)
    if trainer.is_global_zero:
        join_metrics(logs)
    throughput = next(c for c in trainer.callbacks if isinstance(c, Throughput))  # type: ignore[attr-defined]
    return Fit(trainer, {"fit_s": throughput.fit_s, "images_per_s": throughput.images_per_s})


@dataclass(frozen=True)
class TestedNetwork:
    """A network, its test metrics, and what its training took where it was trained here."""

    network: nn.Module
    test: dict[str, float | None]
    time: dict[str, float] = field(default_factory=dict)


def test(trainer: Trainer, module: DistillationModule, data: ImageDataModule) -> dict[str, float | None]:
    """The test metrics of a module's student as it is, without their prefix."""
    results = trainer.test(module, datamodule=data, verbose=False)
    return {name.removeprefix("test/"): value for name, value in results[0].items()}


def test_alone(config: DictConfig, network: nn.Module, data: ImageDataModule) -> TestedNetwork:
    """Test a network that needs no training."""
    quiet()
    shown = bool((config.callbacks or {}).get("progress_bar"))
    trainer = instantiate(config.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=shown)
    module = DistillationModule(as_network(network), num_classes=data.num_classes)
    return TestedNetwork(network, test(trainer, module, data))


def as_network(network: nn.Module) -> nn.Module:
    """A network as it is; a teacher as a network that gives its logits."""
    return LogitsOf(network) if isinstance(network, Teacher) else network


def load_checkpoint(module: DistillationModule, folder: Path, which: str) -> bool:
    """Put the student of a folder's `best` or `last` checkpoint into a module; False where there is none."""
    checkpoint = folder / "checkpoints" / f"{which}.ckpt"
    if not checkpoint.exists():
        return False
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    student = {name.removeprefix("student."): stored[name] for name in stored if name.startswith("student.")}
    module.student.load_state_dict(student)
    return True


def load_selected(module: DistillationModule, data: ImageDataModule, folder: Path) -> None:
    """Put the weights that a training is judged by into its module, which holds the last ones.

    These are the best where validation data select, else the last: the best epoch on the test set would be selected
    on it.
    """
    if data.validates_on == "validation":
        load_checkpoint(module, folder, "best")
