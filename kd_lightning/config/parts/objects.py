"""A checked config as the typed objects that trainings and plans are made of."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from kd_lightning.callbacks.resuming.checkpoint_files import CheckpointFiles
from kd_lightning.config.conf import plain
from kd_lightning.config.parts.instantiation import make
from kd_lightning.config.parts.optimizer import optimizer_from, without_unset
from kd_lightning.config.parts.task import with_monitors
from kd_lightning.curricula import Curriculum
from kd_lightning.errors import UserError
from kd_lightning.objective import Term
from kd_lightning.part import Part
from kd_lightning.tasks import Task
from kd_lightning.training.context import Recipe, Terms


def recipe_from(config: DictConfig, began: DictConfig | None = None) -> Recipe:
    """How a config has networks trained; what is kept of them is named by the config that the run `began` with."""
    named = config if began is None else began
    scheduler = instantiate(config.scheduler, _convert_="all") if config.scheduler else None
    return Recipe(
        optimizer=Part(optimizer_from(config.optimizer), without_unset(plain(named.optimizer))),
        scheduler=None if scheduler is None else Part(scheduler, plain(named.scheduler)),
        trainer=trainer_from(config.trainer, plain(named.trainer)),
        callbacks=Part(partial(make_callbacks, config), plain(with_monitors(at(named, Path())).callbacks) or {}),
        loggers=Part(partial(make_loggers, config), plain(config.logger) or {}),
        seed=config.seed,
        on_nonfinite=config.get("on_nonfinite", "stop"),
        channels_last=config.channels_last,
        compile=config.compile,
    )


def terms_from(loss: DictConfig, key: str = "loss") -> Part[Terms]:
    """Makes the terms that `loss` names, without those that are taken away; `key` is where it stands in the config."""
    named = {str(name): term for name, term in loss.items() if term}

    def build() -> Terms:
        return {name: make(term, f"{key}.{name}") for name, term in named.items()}

    return Part(build, {name: plain(term) for name, term in named.items()})


def supervised_terms(config: DictConfig, task: Task) -> Part[Terms]:
    """Makes the task's supervised loss as the only term, as the run has it where it has one."""
    given = config.loss.get(task.supervised)

    def build() -> Terms:
        return {task.supervised: Term(instantiate(given.loss) if given else task.loss(), ["student.logits", "target"])}

    kind = type(task.loss())
    settings = plain(given.loss) if given else {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    return Part(build, {task.supervised: settings})


def at(config: DictConfig, folder: Path) -> DictConfig:
    """The config with another folder to write into."""
    config = copy.deepcopy(config)
    config.paths.output_dir = str(folder)
    return config


def make_callbacks(config: DictConfig, folder: Path) -> dict[str, Callback]:
    """The config's callbacks by name, which write below `folder`."""
    callbacks = with_monitors(at(config, folder)).callbacks or {}
    return {str(name): make(callback, f"callbacks.{name}") for name, callback in callbacks.items() if callback}


def make_loggers(config: DictConfig, logs: Path) -> list[Logger]:
    """The config's loggers, which write below `logs`."""
    loggers = at(config, logs).logger or {}
    return [make(logger, f"logger.{name}") for name, logger in loggers.items() if logger]


def trainer_from(trainer: DictConfig, settings: Any = None) -> Part[Trainer]:
    """Makes the trainer of a config with callbacks and loggers, and with other arguments where changes are given."""
    return Part(partial(make_trainer, trainer), plain(trainer) if settings is None else settings)


def make_trainer(
    trainer: DictConfig, callbacks: Sequence[Callback], loggers: Sequence[Logger], **changes: Any
) -> Trainer:
    shown = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if not loggers:  # which the learning rate's monitor would ask for
        callbacks = [callback for callback in callbacks if not isinstance(callback, LearningRateMonitor)]
    given = {"callbacks": callbacks, "logger": loggers or False, "enable_progress_bar": shown, **changes}
    return make(trainer, "trainer", lambda part: instantiate(part, plugins=plugins_of(part), **given))


def plugins_of(trainer: DictConfig) -> list[Any]:
    """The config's plugins, and one that writes checkpoints whole unless one of these writes them."""
    given = instantiate(trainer.get("plugins")) or []
    plugins = [*given] if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    writes = any(isinstance(plugin, CheckpointIO) for plugin in plugins)
    return plugins if writes else [*plugins, CheckpointFiles()]


def curriculum_from(given: DictConfig | None, key: str = "curriculum") -> Part[Curriculum] | None:
    """Makes a fresh curriculum as a part of the config describes it, or None; `key` is where it stands.

    Raises `UserError` for what is none.
    """
    if not given:
        return None

    def build() -> Curriculum:
        made: object = make(given, key)
        if not isinstance(made, Curriculum):
            raise UserError(
                f"{key}._target_={given.get('_target_')}: makes {type(made).__name__}, no curriculum; make it a "
                "subclass of kd_lightning.curricula.Curriculum"
            )
        return made

    return Part(build, plain(given))
