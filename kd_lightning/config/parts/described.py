"""What a config describes: student, teacher, data, plan, store."""

import inspect
from typing import Any

from hydra.utils import get_object, instantiate
from lightning import LightningDataModule
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf import arguments, plain
from kd_lightning.config.parts.instantiation import make
from kd_lightning.config.parts.objects import terms_from
from kd_lightning.config.parts.own_model import as_model
from kd_lightning.config.parts.recipe import has_scratch
from kd_lightning.data import DataModule
from kd_lightning.data.derived.module import as_data_module
from kd_lightning.data.values import as_folder
from kd_lightning.errors import UserError
from kd_lightning.networks import Network, Student
from kd_lightning.part import Part
from kd_lightning.plans import Plan
from kd_lightning.plans.plan import is_taught
from kd_lightning.store import Store
from kd_lightning.teachers import NetworkTeacher, OwnTeacher, Teacher
from kd_lightning.teachers.own import STATISTICS

MODELS, META = ("model", "models"), "meta"
OF_PLANS = (*MODELS, "assistants")


def student_of(config: DictConfig) -> Student:
    """What the config's `student` describes. Raises UserError for a class of another kind.

    Of several, `students_in`, it is what they have in common.
    """
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
        if META in values:  # whose numbers may be schedules
            values[META] = make(config.teacher[META], f"teacher.{META}", converted) if config.teacher[META] else None
        described = kind(**with_models(values))
        return described if described.exists else Teacher()
    takes = inspect.signature(kind).parameters
    takes_statistics = STATISTICS in takes or any(one.kind is one.VAR_KEYWORD for one in takes.values())
    given = {name: value for name, value in values.items() if name != STATISTICS or takes_statistics}
    named = OmegaConf.create({Teacher.role: {"_target_": target, **given}})  # so that what is raised names its key
    part = Part(lambda: instantiate(named[Teacher.role]), {"_target_": target, **values})
    return OwnTeacher(part, takes_statistics)


def converted(part: Any) -> Any:
    """What is instantiated in a part, which has no `_target_` itself, among plain values."""
    return instantiate(part, _convert_="all")


def with_models(values: dict[str, Any]) -> dict[str, Any]:
    return {name: as_model(value) if name in MODELS else value for name, value in values.items()}


def trained_alone(config: DictConfig, student: Student, teacher: Teacher) -> list[Network]:
    """The networks that are trained on terms of their own: the teacher's, and the student alone for comparison.

    They are trained by themselves, once for all runs, but for a teacher that learns beside the student.
    """
    learned_from = [one for one in teacher.networks().values() if one.is_trained_first or teacher.learns]
    if not has_scratch(config):
        return learned_from
    is_learner = is_taught(teacher, terms_from(config.loss)) or getattr(plan_of(config), "teaches", False)
    return [*learned_from, student] if is_learner else learned_from


def data_of(config: DictConfig) -> DataModule:
    """The data module of a config, which has read nothing yet. Raises `UserError` for what is none."""
    made: object = make(config.data, "data")
    if not isinstance(made, LightningDataModule):
        raise UserError(
            f"data._target_={config.data.get('_target_')}: makes {type(made).__name__}, no data module; make it a "
            "subclass of lightning.LightningDataModule"
        )
    return as_data_module(made, plain(config.data))


def plan_of(config: DictConfig) -> Plan:
    """The plan of a config, whose models are made where they are trained. Raises `UserError` for what is none."""
    made: object = make(config.plan, "plan", with_models_of_its_own)
    if not callable(getattr(made, "steps", None)):
        raise UserError(
            f"plan._target_={config.plan.get('_target_')}: has no method steps(parts); see kd_lightning.plans.Plan"
        )
    return made  # type: ignore[return-value]


def with_models_of_its_own(part: DictConfig) -> Any:
    """What a part makes of its arguments, of which those that are models stay descriptions."""
    models = {name: as_model(value) for name, value in arguments(part).items() if name in OF_PLANS}
    rest = OmegaConf.masked_copy(part, [str(name) for name in part if name not in models])
    rest._set_parent(part._get_parent())
    return instantiate(rest, _partial_=True)(**models) if models else instantiate(part)


def store_of(config: DictConfig) -> Store:
    """Where runs keep things for one another. Raises UserError where there is no folder for it."""
    cache = as_folder("paths.cache_dir", config.paths.cache_dir)
    if cache is None:
        raise UserError("paths.cache_dir=null: give a folder for what runs keep for one another")
    return Store(cache)
