"""An experiment: a checked config with the objects that it describes, made once."""

from pathlib import Path
from typing import NamedTuple

from lightning import LightningDataModule
from omegaconf import DictConfig

from kd_lightning.data import DataModule
from kd_lightning.data.derived.module import as_data_module
from kd_lightning.data.values import as_folder
from kd_lightning.errors import UserError
from kd_lightning.experiment.config import plain
from kd_lightning.experiment.folder.description import describe
from kd_lightning.experiment.parts.described import student_of, teacher_of
from kd_lightning.experiment.parts.initialization import as_training
from kd_lightning.experiment.parts.instantiation import make
from kd_lightning.experiment.parts.objects import curriculum_from, recipe_from, supervised_terms, terms_from
from kd_lightning.experiment.parts.recipe import OWN_PARTS, has_scratch, own_batch_size, own_terms, recipe_of
from kd_lightning.experiment.task import task_of
from kd_lightning.networks import Network, Student
from kd_lightning.plans import Parts, Plan, Training
from kd_lightning.plans.plan import Pretraining
from kd_lightning.store import Store
from kd_lightning.system.secrets import without_secrets
from kd_lightning.tasks import Task
from kd_lightning.teachers import Teacher
from kd_lightning.training.context import Alone, Context


class Experiment(NamedTuple):
    """A config, and what it says of data, task, student, teacher and plan."""

    config: DictConfig
    data: DataModule
    task: Task
    student: Student
    teacher: Teacher
    plan: Plan

    def parts(self, began: DictConfig | None = None) -> Parts:
        """What a plan is made of; `began` is the config that the run began with, on other devices perhaps."""
        config, context = self.config, self.context(began)
        student = self.student.owner
        recipe = recipe_from(recipe_of(student, config), recipe_of(student, began or config))
        prepared = config.initialization
        return Parts(
            student=self.student,
            teacher=self.teacher,
            terms=terms_from(config.loss),
            recipe=recipe,
            context=context,
            compares=has_scratch(config),
            curriculum=curriculum_from(config),
            pretraining=None
            if prepared is None
            else Pretraining(recipe_from(as_training(config)), terms_from(prepared.loss, "initialization.loss")),
        )

    def trained_alone(self) -> list[Network]:
        return trained_alone(self.config, self.student, self.teacher)

    def context(self, began: DictConfig | None = None) -> Context:
        """What all of its trainings have in common."""
        config, named = self.config, began or self.config
        return Context(
            data=self.data,
            task=self.task,
            recipe=recipe_from(config, named),
            alone={key: self.alone(key, named) for key, parts in OWN_PARTS.items() if "loss" in parts},
            settings=without_secrets(plain(named)),
            folder=Path(config.paths.output_dir),
            store=store_of(config),
            describe=lambda training: describe(training, of_training(training, config), self.data, self.task),
        )

    def alone(self, key: str, named: DictConfig) -> Alone:
        """How what a key of the config says of is trained by itself."""
        config = recipe_of(key, self.config)
        own = own_terms(key, self.config)
        terms = supervised_terms(config, self.task) if own is None else terms_from(own, f"{key}.loss")
        return Alone(recipe_from(config, recipe_of(key, named)), terms, own_batch_size(key, self.config))


def of_training(training: Training, config: DictConfig) -> DictConfig:
    """The config by which a training is done."""
    return config if training.owner is None else recipe_of(training.owner, config)


def trained_alone(config: DictConfig, student: Student, teacher: Teacher) -> list[Network]:
    """The networks that are trained by themselves, once for all runs: the teacher's, and the student for comparison."""
    learned_from = [network for network in teacher.networks().values() if network.is_trained_first]
    return [*learned_from, student] if teacher.exists and has_scratch(config) else learned_from


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
    """The plan of a config. Raises `UserError` for what is none."""
    made: object = make(config.plan, "plan")
    if not callable(getattr(made, "steps", None)):
        raise UserError(
            f"plan._target_={config.plan.get('_target_')}: has no method steps(parts); see kd_lightning.plans.Plan"
        )
    return made  # type: ignore[return-value]


def store_of(config: DictConfig) -> Store:
    """Where runs keep things for one another. Raises UserError where there is no folder for it."""
    cache = as_folder("paths.cache_dir", config.paths.cache_dir)
    if cache is None:
        raise UserError("paths.cache_dir=null: give a folder for what runs keep for one another")
    return Store(cache)


def experiment_of(config: DictConfig, data: DataModule | None = None) -> Experiment:
    """What a config describes, still without data, and not checked. Raises `UserError` for what cannot be made."""
    data = data_of(config) if data is None else data
    return Experiment(config, data, task_of(config, data), student_of(config), teacher_of(config), plan_of(config))
