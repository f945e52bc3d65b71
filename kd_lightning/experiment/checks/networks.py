"""Checking the networks that a config names: they exist, have weights, and fit the data and the terms."""

import inspect
import os
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from omegaconf import DictConfig
from torch import Tensor

from kd_lightning.batch import example_batch
from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.training import check_weights_of_terms
from kd_lightning.experiment.config import is_file, plain
from kd_lightning.experiment.networks.build import (
    TRAINING_SET,
    adapted_to_its_like,
    build_network,
    build_terms,
    has_teacher,
    is_own_teacher,
    model_name,
    roles,
)
from kd_lightning.experiment.networks.normalization import given_normalization
from kd_lightning.experiment.networks.settings import given_taps
from kd_lightning.experiment.storage.answers import check_cache
from kd_lightning.experiment.task import task_of
from kd_lightning.models import check_model_name, has_pretrained, pretrained_num_classes
from kd_lightning.objective import Objective
from kd_lightning.signals import DETACHED, Signal, read, requested, takes_strong_view, taps_of_source
from kd_lightning.taps.inspection import inspect_model

GIVEN = ("student", "teacher", "train", "progress", "target", "index", "view")


def check_network(role: str, settings: DictConfig) -> None:
    """The model exists, and so do its weights."""
    model, weights = plain(settings.model), plain(settings.weights)
    if model is None:
        raise UserError(f"{role}.model=null: name a model, such as {role}.model=resnet8x4")
    if isinstance(model, str):
        check_model_name(model, f"{role}.model")
    elif not (isinstance(model, dict) and isinstance(model.get("_target_"), str)):
        raise UserError(f"{role}.model={model}: must be a model's name, such as resnet8x4, or a mapping with _target_")
    if not (weights is None or (isinstance(weights, str) and weights)):
        ways = "train, pretrained" if role == "teacher" else "pretrained"
        raise UserError(f"{role}.weights={weights}: must be {ways}, the path of a file, or null")
    if weights == "train" and role != "teacher":
        raise UserError(f"{role}.weights=train: only the teacher is trained first; use null, pretrained or a file")
    if weights == "pretrained" and not (isinstance(model, str) and has_pretrained(model)):
        remedy = "give a file, or teacher.weights=train" if role == "teacher" else "give a file, or null"
        raise UserError(f"{role}.weights=pretrained: {model_name(settings)} has no published weights here; {remedy}")
    if not isinstance(settings.get("batch_statistics", False), bool):
        raise UserError(f"{role}.batch_statistics={settings.batch_statistics}: must be true or false")
    if is_file(weights) and not os.path.isfile(Path(weights).expanduser()):  # False for a name that is too long
        raise UserError(f"{role}.weights={weights}: no such file; give a file, pretrained or null")
    check_weights_key(role, plain(settings.get("weights_key")), weights)
    adapt = plain(settings.get("adapt"))
    if adapt is not None and not (isinstance(adapt, dict) and isinstance(adapt.get("_target_"), str)):
        raise UserError(f"{role}.adapt={adapt}: must be a mapping with _target_, as in method=simkd, or null")


def check_own_teacher(config: DictConfig) -> None:
    """A teacher of the user's own takes `batch_statistics`, where a method sets it."""
    if not is_own_teacher(config) or "batch_statistics" not in config.teacher:
        return
    try:
        takes = inspect.signature(get_object(config.teacher["_target_"])).parameters
    except Exception:  # reported where it is made
        return
    if "batch_statistics" not in takes and not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
        raise UserError(
            f"teacher.batch_statistics={config.teacher.batch_statistics}: {model_name(config.teacher)} takes no such "
            "argument; ~teacher.batch_statistics leaves the statistics to it"
        )


def check_weights_key(role: str, weights_key: Any, weights: str | None) -> None:
    """It is a key, and there is a file that it can choose in."""
    if weights_key is None:
        return
    if not isinstance(weights_key, str) or not weights_key:
        raise UserError(f"{role}.weights_key={weights_key}: must be a key of the file, such as state_dict_ema, or null")
    if not is_file(weights):
        raise UserError(
            f"{role}.weights_key={weights_key}: chooses in a file, and {role}.weights={weights or 'null'} is none; "
            "give a file, or leave the key null"
        )


def check_classes(config: DictConfig, data: ImageDataModule) -> None:
    """A pretrained teacher knows the data's classes."""
    if "teacher" not in roles(config) or config.teacher.weights != "pretrained":
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
    check_terms("loss", config.loss, config, data)
    if config.initialization:
        check_terms("initialization.loss", config.initialization.loss, config, data)


def check_terms(key: str, loss: DictConfig, config: DictConfig, data: ImageDataModule) -> None:
    """The networks have every tap that these terms take, in shapes that fit."""
    objective = Objective(build_terms(loss, key))
    check_weights_of_terms(objective, key)
    check_signals(objective, config, data)
    task = task_of(config, data)
    taps: dict[str, dict[str, str]] = {}
    values: dict[str, Tensor] = {}
    for role in roles(config):
        model, given = plain(config[role].model), given_taps(role, config[role].taps)
        adapt = adapted_to_its_like(config, data) if role == "student" else None
        taken = taps_of_source(role, objective.names())
        seen = inspect_model(role, model, data.input_shape, data.num_classes, given, taken, adapt)
        try:
            task.check(seen.shapes, data)
        except UserError as error:
            raise UserError(f"{role}.model={seen.model}: {error}") from error
        taps[role] = seen.taps
        for input in requested(role, objective.names()):
            values |= {str(Signal(role, tap, input)): value.to("meta") for tap, value in seen.values.items()}
    if is_own_teacher(config):  # what that one gives is known once it is built
        return
    objective.connect({"student": taps["student"], "teacher": taps.get("teacher")}, TRAINING_SET)
    if "teacher" in taps:
        check_cache(config, data, taps_of_source("teacher", objective.names()))
    if not any(name.startswith("train.") for name in objective.names()):  # the training images are not read yet
        values |= {f"{name}{DETACHED}": value for name, value in values.items()}
        with torch.device("meta"):
            objective.build(values | example_batch(torch.zeros(2)))


def check_signals(objective: Objective, config: DictConfig, data: ImageDataModule) -> None:
    """The terms take nothing that nobody gives."""
    if takes_strong_view(objective.names()) and data.strong is None:
        raise UserError(
            "data.strong=null: a term compares two views of an image; choose a strong augmentation, as method=mlkd does"
        )
    for name, term in objective.items():
        if not has_teacher(config) and requested("teacher", term.names()):
            raise UserError(f"loss={name}: this term needs a teacher; choose one, or loss=ce with teacher=none")
        for argument, signal in term.named_signals():
            first = read(signal)
            if (signal if first is None else first.source) not in GIVEN:
                raise UserError(
                    f"loss.{name}.{argument}={signal}: nobody gives this signal; names begin with {', '.join(GIVEN)}"
                )


def check_weights(config: DictConfig, data: ImageDataModule) -> None:
    """Files of weights fit their networks, and given normalisations the data."""
    for role in roles(config):
        if is_file(config[role].weights):
            build_network(role, config[role], data, adapted_to_its_like(config, data) if role == "student" else None)
        elif config[role].normalization != "auto":
            given_normalization(role, config[role].normalization, data.in_channels)
