"""Checking how a run is trained: devices, precision, optimizer, and the schedules of its and the terms' numbers."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LearningRateFinder
from omegaconf import DictConfig

from kd_lightning.callbacks import LRFinder
from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.checks.values import OF_SOFT_TARGETS
from kd_lightning.config.parts.instantiation import make
from kd_lightning.config.parts.objects import make_callbacks, make_loggers, terms_from, trainer_from
from kd_lightning.config.parts.optimizer import optimizer_from
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.learners.optimizer import made
from kd_lightning.objective import Objective
from kd_lightning.optimizers import SAM
from kd_lightning.schedules.learning_rate import LearningRateSchedule
from kd_lightning.schedules.length import is_unlimited, unlimited
from kd_lightning.schedules.progress import BEGIN, END, Schedule, asks_for_assessment
from kd_lightning.schedules.torch_schedule import needing
from kd_lightning.system.cpu import has_native_bfloat16
from kd_lightning.terminal import warn
from kd_lightning.training.fit import quiet

GPU = ("gpu", "cuda")
COMPILE_MODES = (False, True, *torch._inductor.list_mode_options())
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "32")


def check_devices(trainer: DictConfig) -> None:
    """No more devices than there are. Raises UserError."""
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    gpus = torch.cuda.device_count()
    if accelerator in GPU and gpus == 0:
        raise UserError(f"trainer.accelerator={accelerator}: this machine has no GPU; use trainer=cpu")
    on_gpu = accelerator in GPU or (accelerator == "auto" and gpus > 0)
    if accelerator not in (*GPU, "auto", "cpu") or not isinstance(devices, int):
        return
    available, kind = (gpus, "GPUs") if on_gpu else (os.cpu_count() or 1, "CPU cores")
    if devices > available:
        raise UserError(f"trainer.devices={devices}: this machine has {available} {kind}; use at most that many")
    if devices == 0 or devices < -1:
        raise UserError(f"trainer.devices={devices}: must be at least 1, or -1 for all")


def check_compilation(config: DictConfig) -> None:
    """A mode that torch.compile knows. Raises UserError."""
    if not isinstance(config.compile, (bool, str)) or config.compile not in COMPILE_MODES:
        raise UserError(f"compile={config.compile}: must be one of {', '.join(map(str, COMPILE_MODES)).lower()}")


def check_training(config: DictConfig, loss: DictConfig | None) -> None:
    """The optimizer, its schedule, callbacks, loggers and trainer can be made with the values that they are given.

    Raises UserError, also where these terms, those of the task where None, do not go with its length.
    """
    quiet()
    network = torch.nn.Linear(1, 1)
    optimizer = make(
        config.optimizer, "optimizer", lambda part: made(optimizer_from(part), [*network.parameters()], network)
    )
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UserError(f"optimizer._target_={config.optimizer._target_}: makes no optimizer; name one of torch.optim")
    if config.scheduler:
        make(config.scheduler, "scheduler", lambda part: schedule_of(part, optimizer))
    folder = Path(config.paths.output_dir)
    callbacks = make_callbacks(config, folder)
    for name, callback in callbacks.items():
        if isinstance(callback, LearningRateFinder):
            raise UserError(
                f"callbacks.{name}={type(callback).__name__}: changes an attribute `lr` of the module, and here the "
                "learning rate is optimizer.lr; use kd_lightning.callbacks.LRFinder, as callbacks=lr_finder does"
            )
    trainer = trainer_from(config.trainer)(list(callbacks.values()), make_loggers(config, folder))
    if isinstance(maker := optimizer_from(config.optimizer), SAM):
        try:
            maker.check(trainer)
        except UserError as error:
            raise UserError(f"optimizer.{error}") from error
    for finder in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(finder, LRFinder):
            finder.check(trainer)
            refuse_given_rate()
    if getattr(trainer.strategy, "_start_method", "popen") != "popen":
        raise UserError(
            f"trainer.strategy={config.trainer.strategy}: trains in forked processes, from which nothing comes back to "
            "be tested; use ddp"
        )
    if config.trainer.get("sync_batchnorm") and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise UserError(
            "trainer.sync_batchnorm=true: batch normalisation is synchronised on GPUs alone; leave it false"
        )
    if is_unlimited(trainer):
        check_without_length(config, loss)


def refuse_given_rate() -> None:
    """Raise UserError for a learning rate that is typed where one is to be found, in a sweep too."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    for override in typed:
        key = override.partition("=")[0].lstrip("+")
        if re.fullmatch(r"(\w+\.)?optimizer\.lr", key):
            raise UserError(f"{override}: callbacks.lr_finder finds the rate in its place; leave out one of the two")


def schedule_of(part: DictConfig, optimizer: torch.optim.Optimizer) -> object:
    schedule = instantiate(part)
    return schedule(optimizer, 100) if isinstance(schedule, LearningRateSchedule) else schedule(optimizer)


def check_without_length(config: DictConfig, loss: DictConfig | None) -> None:
    """Nothing depends on the training's length, where neither epochs nor steps limit it. Raises UserError."""
    schedule = instantiate(config.scheduler) if config.scheduler else None
    if isinstance(schedule, LearningRateSchedule) and schedule.needs_length:
        raise UserError(unlimited(needing(schedule)))
    if loss is not None:
        Objective(terms_from(loss)()).refuse_without_length()


def check_root_schedules(config: DictConfig) -> None:
    """Raise `UserError` for a `temperature` or `alpha` that is no schedule, or one of numbers that are not allowed."""
    for key, (allowed, meaning) in OF_SOFT_TARGETS.items():
        if not isinstance(config[key], DictConfig):
            continue
        check_arguments(config[key], key)
        made: object = make(config[key], key)
        if not isinstance(made, Schedule):
            raise UserError(
                f"{key}._target_={config[key]._target_}: makes no kd_lightning.schedules.Schedule; give one, such as "
                "kd_lightning.schedules.Linear"
            )
        check_numbers(f"{key}={made}", made, allowed, meaning)


def check_schedules(objective: Objective, key: str, data: DataModule) -> None:
    """Raise `UserError` for a schedule that follows the test set, and for a weight that gives what is not 0 or more."""
    check_followed(key, objective, data)
    for name, term in objective.items():
        if callable(term.weight):
            check_numbers(f"{key}.{name}.weight={term.weight}", term.weight, lambda weight: weight >= 0, "0 or more")


def check_followed(key: str, objective: Objective, data: DataModule) -> None:
    """No schedule and no loss of the terms follows the test set, or a validation that is not. Raises UserError."""
    why = "would follow the test set; set data.val_fraction above 0"
    if data.validates_on == "none":
        why = f"follows validations, and {data.name} has no val_dataloader; give it one"
    for name, term in objective.items() if data.validates_on != "validation" else ():
        followed = next((one for one in term.schedules() if asks_for_assessment(one)), None)
        if followed is not None:
            raise UserError(f"{key}.{name}={followed}: {why}, or a schedule of the progress alone, such as Linear")
        if getattr(term.loss, "needs_validation", False):
            raise UserError(f"{key}.{name}.loss={type(term.loss).__name__}: {why}, or another of its kinds")


def check_numbers(given: str, schedule: Callable[..., float], allowed: Callable[[float], bool], meaning: str) -> None:
    """Raise `UserError` for a number of a schedule that is not allowed; `given` is its key and value."""
    numbers = schedule.extremes() if isinstance(schedule, Schedule) else (schedule(BEGIN), schedule(END))
    for number in numbers:
        if not allowed(number):
            raise UserError(f"{given}: takes the value {number:g}; {meaning}")


def check_precision(config: DictConfig) -> None:
    """A precision that training knows; says where the CPU has none of it. Raises UserError."""
    precision, trainer = str(config.trainer.get("precision", "32-true")), config.trainer
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: must be one of {', '.join(PRECISIONS)}")
    if precision == "16-mixed" and config.optimizer.get("fused") and trainer.get("gradient_clip_val"):
        raise UserError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val}: a fused optimizer unscales 16-mixed gradients too "
            "late for it; set optimizer.fused=false, or trainer.precision=bf16-mixed"
        )
    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    on_cpu = trainer.get("accelerator") == "cpu" or not on_gpu
    if precision == "bf16-mixed" and on_cpu and not has_native_bfloat16():
        warn("trainer.precision=bf16-mixed: this CPU does not multiply bfloat16 by itself; 32-true is faster here")
