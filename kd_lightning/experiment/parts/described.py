"""The student and the teacher that a config describes."""

import inspect
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from kd_lightning.errors import UserError
from kd_lightning.experiment.config import arguments
from kd_lightning.experiment.parts.own_model import as_model
from kd_lightning.networks import Student
from kd_lightning.part import Part
from kd_lightning.teachers import NetworkTeacher, OwnTeacher, Teacher
from kd_lightning.teachers.own import STATISTICS

MODELS = ("model", "models")


def student_of(config: DictConfig) -> Student:
    """What the config's `student` describes. Raises UserError for a class of another kind."""
    values = arguments(config.student)
    target = values.pop("_target_", None)
    kind: Any = Student if target is None else get_object(target)
    if not (inspect.isclass(kind) and issubclass(kind, Student)):
        raise UserError(
            f"student._target_={target}: a student is a network with its weights and its taps; give "
            f"student.model={{_target_: {target}}}"
        )
    adapt = values.get("adapt")
    if isinstance(adapt, dict) and isinstance(adapt.get("_target_"), str):
        values["adapt"] = Part(lambda *given: instantiate(adapt)(*given), adapt)
    return kind(**{"model": None, **with_models(values)})


def teacher_of(config: DictConfig) -> Teacher:
    """What the config's `teacher` describes: one of this package's kinds, else a source of the user's own.

    A part without a `_target_` is a network, and one of a network without a model is none.
    """
    values = arguments(config.teacher)
    target = values.pop("_target_", None)
    kind: Any = NetworkTeacher if target is None else get_object(target)
    if inspect.isclass(kind) and issubclass(kind, Teacher):
        described = kind(**with_models(values))
        return described if described.exists else Teacher()
    takes = inspect.signature(kind).parameters
    takes_statistics = STATISTICS in takes or any(one.kind is one.VAR_KEYWORD for one in takes.values())
    given = {name: value for name, value in values.items() if name != STATISTICS or takes_statistics}
    part = Part(lambda: instantiate({"_target_": target, **given}), {"_target_": target, **values})
    return OwnTeacher(part, takes_statistics)


def with_models(values: dict[str, Any]) -> dict[str, Any]:
    return {name: as_model(value) if name in MODELS else value for name, value in values.items()}
