"""Which part of a config an exception of a training comes from, and the line that says so."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch.callbacks
import torch
from lightning import LightningDataModule
from lightning.pytorch.loops.optimization.closure import AbstractClosure
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kd_lightning.config.parts.instantiation import culprit
from kd_lightning.errors import UserError
from kd_lightning.module import DistillationModule
from kd_lightning.objective import Objective

LONGEST = 60  # characters of a value in a line
SEE_ALL = "HYDRA_FULL_ERROR=1 in the environment shows where"
KINDS = {  # the closure that an optimizer calls comes before it
    Objective: "loss",
    Tensor: "student.model",  # backward
    AbstractClosure: "trainer",
    Optimizer: "optimizer",
    LRScheduler: "scheduler",
    LightningDataModule: "data",
}


@dataclass
class Tried:
    """What was made of a config: the module of a training, and its callbacks by name."""

    teacher: str  # the key of the teacher's code
    module: DistillationModule | None = None
    callbacks: dict[str, lightning.pytorch.callbacks.Callback] = field(default_factory=dict)


def refusal(
    error: Exception,
    training: str,
    learner: str,
    trainer: DictConfig,
    tried: Tried,
    again: Callable[[DictConfig], object],
    told: Callable[[str], str],
) -> UserError:
    """What the exception of a training says of its config: key, value and remedy.

    `learner` is the key of its network's code. `again` trains in the same way with another `trainer`, to find the
    argument that it fails for; `told` gives a key of the training with its value, as it stands in the run's config.
    """
    if isinstance(error, torch.OutOfMemoryError):
        size = told("data.batch_size")
        return UserError(f"{size}: a step of the {training} takes more memory than there is; take smaller batches")
    unlogged = monitor_without_metric(error, tried)
    if unlogged is not None:
        return UserError(unlogged)
    key = part_of(error, learner, tried) or "trainer"
    reason = reason_of(error)
    if key == "trainer":
        argument = culprit(trainer, reason, again)
        key = "trainer" if argument is None else f"trainer.{argument}"
    return UserError(f"{told(key)}: the first step of the {training} fails: {reason}; {SEE_ALL}")


def reason_of(error: BaseException) -> str:
    """An exception's type and message on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def setting(key: str, config: DictConfig) -> str:
    """A key with its value, of a class its name, as an error line begins."""
    value = OmegaConf.select(config, key, throw_on_resolution_failure=False)
    if isinstance(value, Mapping) and "_target_" in value:
        key, value = f"{key}._target_", value["_target_"]
    return key if OmegaConf.is_config(value) or len(str(value)) > LONGEST else f"{key}={value}"


def monitor_without_metric(error: BaseException, tried: Tried) -> str | None:
    """What is wrong where it was raised in a callback that looks at what nobody has logged."""
    running = [id(owner) for owner in objects_in(error)]
    for name, callback in tried.callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if tried.module is None or monitor is None or id(callback) not in running:
            continue
        logged = tried.module.trainer.callback_metrics
        if monitor not in logged:
            return f"callbacks.{name}.monitor={monitor}: nobody logs this; there are {', '.join(sorted(logged))}"
    return None


def part_of(error: BaseException, learner: str, tried: Tried) -> str | None:
    """The key of the innermost part in whose code it was raised."""
    keys = {id(owner): key for owner, key in parts(learner, tried)}
    for owner in objects_in(error):
        if id(owner) in keys:
            return keys[id(owner)]
        for kind, key in KINDS.items():
            if isinstance(owner, kind):
                return key
    return None


def parts(learner: str, tried: Tried) -> Iterator[tuple[Any, str]]:
    """Each object of a training with the key that it comes from, that of its network's code the `learner`'s."""
    yield from ((callback, f"callbacks.{name}") for name, callback in tried.callbacks.items())
    if tried.module is None:
        return
    yield from ((part, learner) for part in tried.module.student.modules())
    if tried.module.teacher is not None:
        yield from ((part, tried.teacher) for part in tried.module.teacher.modules())
    for name, term in tried.module.objective.items():
        yield from ((part, f"loss.{name}.projector") for part in term.projections.modules())
        yield from ((part, f"loss.{name}.loss") for part in term.loss.modules())
        yield term.sample_weight, f"loss.{name}.sample_weight"
        yield term, f"loss.{name}"


def objects_in(error: BaseException) -> list[Any]:
    """Whose methods were running, the innermost first."""
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [names["self"] for names in reversed(frames) if "self" in names]
