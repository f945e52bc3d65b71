"""Checking the networks that a config names: they exist, have weights, and fit the data and the terms."""

from pathlib import Path

from omegaconf import DictConfig

from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.build import (
    build_network,
    build_terms,
    given_normalization,
    has_teacher,
    is_file,
    is_own_teacher,
    model_name,
)
from kd_lightning.inspection import given_taps, inspect_model, plain
from kd_lightning.models import check_model_name, has_pretrained, pretrained_num_classes
from kd_lightning.objective import Objective
from kd_lightning.signals import connect, taken_from


def roles(config: DictConfig) -> list[str]:
    """The networks that are built by name: the student, and the teacher unless it is none or a class of its own."""
    return ["student", "teacher"] if has_teacher(config) and not is_own_teacher(config) else ["student"]


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
    objective = Objective(build_terms(config))
    taps: dict[str, dict[str, str]] = {}
    for role in roles(config):
        model, given = plain(config[role].model), given_taps(role, config[role].taps)
        find = not taken_from(role, objective) <= {"logits"}
        seen = inspect_model(role, model, data.input_shape, data.num_classes, given, find)
        if seen.shapes["logits"] != (data.num_classes,):
            raise UserError(
                f"{role}.model={seen.model}: gives {'x'.join(map(str, seen.shapes['logits']))} logits, the data have "
                f"{data.num_classes} classes; build it for these"
            )
        taps[role] = seen.taps
    if not is_own_teacher(config):  # what that one gives is known once it is built
        connect(objective, taps["student"], taps.get("teacher"))


def check_weights(config: DictConfig, data: ImageDataModule) -> None:
    """Files of weights fit their networks, and given normalisations the data."""
    for role in roles(config):
        if is_file(config[role].weights):
            build_network(role, config[role], data)
        elif config[role].normalization != "auto":
            given_normalization(role, config[role].normalization, data.in_channels)
