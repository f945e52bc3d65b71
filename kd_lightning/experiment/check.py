"""Checking a composed config before anything is trained or downloaded."""

import math
import os
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.build import is_file, model_name
from kd_lightning.experiment.training import quiet
from kd_lightning.inspection import given_taps, inspect_model, plain
from kd_lightning.learning_rate import LearningRateSchedule
from kd_lightning.models import check_model_name, has_pretrained, pretrained_num_classes
from kd_lightning.objective import Objective
from kd_lightning.signals import connect, taken_from

GPU = ("gpu", "cuda")


def check(config: DictConfig) -> ImageDataModule:
    """The data module of a sound config, still without data; raises `UserError` for the first thing that is wrong."""
    check_numbers(config)
    check_network("student", config.student)
    if config.teacher.model is not None:
        check_network("teacher", config.teacher)
    check_loss(config)
    check_devices(config.trainer)
    check_training(config)
    data = instantiate(config.data)
    data.check()
    check_classes(config, data)
    check_models(config, data)
    return data


def check_numbers(config: DictConfig) -> None:
    """Temperature above 0, alpha between 0 and 1, a seed, and at least one training step."""
    if not _is_number(config.temperature) or config.temperature <= 0:
        raise UserError(f"temperature={config.temperature}: must be a number above 0; 4 is usual")
    if not _is_number(config.alpha) or not 0 <= config.alpha <= 1:
        raise UserError(f"alpha={config.alpha}: the share of the soft targets, a number from 0 to 1; 0.9 is usual")
    if not isinstance(config.seed, int) or config.seed < 0:
        raise UserError(f"seed={config.seed}: must be a whole number, 0 or more")
    if config.trainer.get("max_epochs") == 0 or config.trainer.get("max_steps") == 0:
        raise UserError("trainer.max_epochs=0: nothing to train; give at least one epoch and one step")


def check_network(role: str, settings: DictConfig) -> None:
    """The model exists, and so do its weights."""
    model, weights = settings.model, settings.weights
    if model is None:
        raise UserError(f"{role}.model=null: name a model, such as {role}.model=resnet8x4")
    if isinstance(model, str):
        check_model_name(model, f"{role}.model")
    elif "_target_" not in model:
        raise UserError(f"{role}.model={model}: a model's name, or a mapping with _target_")
    if weights == "train" and role != "teacher":
        raise UserError(f"{role}.weights=train: only the teacher is trained first; use null, pretrained or a file")
    if weights == "pretrained" and not (isinstance(model, str) and has_pretrained(model)):
        remedy = "give a file, or teacher.weights=train" if role == "teacher" else "give a file, or null"
        raise UserError(f"{role}.weights=pretrained: {model_name(settings)} has no published weights here; {remedy}")
    if is_file(weights) and not Path(weights).expanduser().is_file():
        raise UserError(f"{role}.weights={weights}: no such file; give a file, pretrained or null")


def check_loss(config: DictConfig) -> None:
    """There is a term, and a teacher where a term needs one."""
    terms = {name: term for name, term in (config.get("loss") or {}).items() if term}
    if not terms:
        raise UserError("loss=[]: nothing to minimise; name at least one term, as in loss=[ce,kd]")
    for name, term in terms.items():
        weight = term.get("weight", 1.0)
        if _is_number(weight) and (not math.isfinite(weight) or weight < 0):
            raise UserError(f"loss.{name}.weight={weight}: must be a number, 0 or more")


def check_devices(trainer: DictConfig) -> None:
    """No more devices than there are."""
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


def check_training(config: DictConfig) -> None:
    """The optimizer, its schedule and the trainer take the values that they are given."""
    weight = torch.nn.Parameter(torch.zeros(1))
    try:
        optimizer = instantiate(config.optimizer)([weight])
        if config.scheduler:
            schedule = instantiate(config.scheduler)
            schedule(optimizer, 100) if isinstance(schedule, LearningRateSchedule) else schedule(optimizer)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"optimizer={_values(config.optimizer)}, scheduler={_values(config.scheduler)}: {error}"
        ) from error
    quiet()
    instantiate(config.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)


def check_classes(config: DictConfig, data: ImageDataModule) -> None:
    """A pretrained teacher knows the data's classes."""
    if config.teacher.model is None or config.teacher.weights != "pretrained":
        return
    classes = pretrained_num_classes(config.teacher.model)
    if classes is not None and classes != data.num_classes:
        raise UserError(
            f"teacher.model={model_name(config.teacher)}: its pretrained weights know {classes} classes, the data have "
            f"{data.num_classes}; use teacher.weights=train, or a file of weights for these classes"
        )


def check_models(config: DictConfig, data: ImageDataModule) -> None:
    """The models run on the data, know its classes, and have every tap that a term takes.

    Seen on networks without memory behind them where possible, so it costs little.
    """
    objective = Objective({name: instantiate(term) for name, term in config.loss.items() if term})
    taps: dict[str, dict[str, str]] = {}
    for role in ("student", "teacher"):
        model, given = plain(config[role].model), given_taps(role, config[role].taps)
        if model is None:
            continue
        find = not taken_from(role, objective) <= {"logits"}
        seen = inspect_model(role, model, data.input_shape, data.num_classes, given, find)
        if seen.shapes["logits"] != (data.num_classes,):
            raise UserError(
                f"{role}.model={seen.model}: gives {'x'.join(map(str, seen.shapes['logits']))} logits, the data have "
                f"{data.num_classes} classes; build it for these"
            )
        taps[role] = seen.taps
    connect(objective, taps["student"], taps.get("teacher"))


def _values(part: DictConfig | None) -> dict[str, Any]:
    """A part of the config without what Hydra needs of it."""
    return {str(name): value for name, value in (part or {}).items() if not str(name).startswith("_")}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
