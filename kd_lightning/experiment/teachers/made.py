"""The teacher that a config describes."""

import inspect
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig

from kd_lightning.experiment.config import arguments
from kd_lightning.experiment.networks.teacher import Teacher
from kd_lightning.experiment.teachers.network import NetworkTeacher
from kd_lightning.experiment.teachers.own import OwnTeacher


def teacher_of(config: DictConfig) -> Teacher:
    """What the config's `teacher` describes: one of this package's kinds, else a source of the user's own.

    A part without a `_target_` is a network, and one of a network without a model is none.
    """
    values = arguments(config.teacher)
    kind: Any = get_object(values.pop("_target_")) if "_target_" in values else NetworkTeacher
    if inspect.isclass(kind) and issubclass(kind, Teacher):
        described = kind(**values)
        return described if described.exists else Teacher()
    return OwnTeacher(config.teacher)
