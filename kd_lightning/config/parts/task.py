"""The task that a config names."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kd_lightning import losses
from kd_lightning.config.conf import plain
from kd_lightning.config.parts.instantiation import explained, make
from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.store.source_code import own_code
from kd_lightning.tasks import Task
from kd_lightning.tasks.task import Arrays
from kd_lightning.terminal import warn

AUTO = "auto"
PUBLIC = losses.__name__


def make_task(config: DictConfig) -> Task:
    """The task of a config, which knows no data yet. Raises `UserError` for what is none, or cannot be made."""
    try:
        made: object = make(config.task, "task")
    except UserError as error:
        raise named(error) from error
    if not isinstance(made, Task):
        raise UserError(
            f"task._target_={config.task.get('_target_')}: makes no kd_lightning.tasks.Task; make it a subclass of it, "
            "or of one of those in conf/task"
        )
    return made


def task_of(config: DictConfig, data: DataModule) -> Task:
    """The task of a config on its data. Raises `UserError` for one whose columns nothing measures, or which fails."""
    task = make_task(config)
    try:
        task = task.with_data(data)
        task.check_columns()
    except UserError as error:
        raise named(error) from error
    except Exception as error:  # whatever a class of the user's own raises
        raise explained(error, config.task, "task", instantiate) from error
    return task


def supervised_loss(config: DictConfig) -> DictConfig:
    """The task's supervised loss as a config: the run's own, or by its class where the run has none."""
    task = make_task(config)
    given = config.loss.get(task.supervised)
    if given:
        loss: DictConfig = given.loss
        return loss
    kind = type(task.loss())
    module = PUBLIC if getattr(losses, kind.__name__, None) is kind else kind.__module__
    return OmegaConf.create({"_target_": f"{module}.{kind.__qualname__}"})


def measured_by(config: DictConfig) -> dict[str, Any]:
    """What decides the numbers that a config's task gives for a network, as plain values."""
    arguments = {name: value for name, value in plain(config.task).items() if name != "selects_on"}
    return {"task": arguments, "own_code": own_code(plain(config.task))}


def with_monitors(config: DictConfig) -> DictConfig:
    """The config, whose callbacks watch what selects in its direction where they say `auto`; changed in place.

    Of a `monitor` that is given, `mode: auto` is the direction of its column; what is trained on is minimised.
    """
    parts = [one for one in (config.callbacks or {}).values() if isinstance(one, DictConfig)]
    watching = [one for one in parts if "monitor" in one and AUTO in (one.monitor, one.get("mode"))]
    if not watching:
        return config
    task = make_task(config)
    modes = {f"val/{column.name}": column.mode for column in task.columns}
    for callback in watching:
        if callback.monitor == AUTO:
            callback.monitor = f"val/{task.selects_on.name}"
        if callback.get("mode") == AUTO:
            watched = str(callback.monitor)
            callback.mode = "min" if watched.startswith("train/") else modes.get(watched, task.selects_on.mode)
    return config


def drawn(task: Task, roles: Mapping[str, Arrays], constants: Arrays) -> Mapping[str, Mapping[str, Any]]:
    """The figures that a task draws of what was measured; none, with a warning, where it cannot: the run is whole."""
    try:
        return task.figures({**{role: arrays for role, arrays in roles.items() if arrays}, "data": constants})
    except Exception as error:  # whatever a class of the user's own raises
        reason = f"{type(error).__name__}: {one_line(error)}"
        warn(f"task._target_={type(task).__name__}: its figures are left out ({reason})")
        return {}


def named(error: UserError) -> UserError:
    """What a task says of an argument, with its key."""
    message = one_line(error)
    return UserError(message if message.startswith("task") else f"task.{message}")
