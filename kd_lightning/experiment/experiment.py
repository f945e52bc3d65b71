"""An experiment: a checked config with the objects that it describes, made once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig

from kd_lightning.config.conf import plain
from kd_lightning.config.folder.description import describe
from kd_lightning.config.parts.described import data_of, plan_of, store_of, student_of, teacher_of, trained_alone
from kd_lightning.config.parts.initialization import as_training
from kd_lightning.config.parts.objects import curriculum_from, recipe_from, supervised_terms, terms_from
from kd_lightning.config.parts.recipe import (
    CURRICULUM,
    OWN_PARTS,
    has_scratch,
    own_batch_size,
    own_curriculum,
    own_terms,
    recipe_of,
)
from kd_lightning.config.parts.students import students_in
from kd_lightning.config.parts.task import task_of
from kd_lightning.data import DataModule
from kd_lightning.networks import Network, Student
from kd_lightning.plans import Parts, Plan, Training
from kd_lightning.plans.plan import Pretraining, in_common
from kd_lightning.system.secrets import without_secrets
from kd_lightning.taps.inspection import Cost
from kd_lightning.tasks import Task
from kd_lightning.teachers import StudentAlone, Teacher
from kd_lightning.training.context import Alone, Context


@dataclass(frozen=True)
class Experiment:
    """A config, and what it says of data, task, student, teacher and plan; `costs` as its check saw its networks."""

    config: DictConfig
    data: DataModule
    task: Task
    student: Student
    teacher: Teacher
    plan: Plan
    costs: dict[str, Cost] = field(default_factory=dict)  # by the key of the model
    each: Sequence["Experiment"] = ()  # of several students the experiment of each alone; `student` is the first

    @cached_property
    def parts(self) -> Parts:
        """What its plan is made of."""
        return self.parts_as(self.config)

    def parts_as(self, began: DictConfig) -> Parts:
        """The same by the names that they have in the config that the run began with, on other devices perhaps."""
        config, context = self.config, self.context(began)
        student = self.student.owner
        recipe = recipe_from(recipe_of(student, config), recipe_of(student, began))
        if self.each:
            each = [one.parts_as(own) for one, own in zip(self.each, students_in(began), strict=True)]
            return in_common(each, recipe, terms_from(config.loss), context)
        prepared = config.initialization
        return Parts(
            student=self.student,
            teacher=self.teacher,
            terms=terms_from(config.loss),
            recipe=recipe,
            context=context,
            compares=has_scratch(config),
            curriculum=curriculum_from(config.curriculum),
            pretraining=None
            if prepared is None
            else Pretraining(recipe_from(as_training(config)), terms_from(prepared.loss, "initialization.loss")),
        )

    @property
    def taught_by(self) -> Teacher:
        """The teacher; where there is none, and the plan has the student alone teach, that."""
        has_own = self.teacher.exists or not getattr(self.plan, "teaches_alone", False)
        return self.teacher if has_own else StudentAlone(self.student)

    def trained_alone(self) -> list[Network]:
        return trained_alone(self.config, self.student, self.teacher)

    def context(self, began: DictConfig) -> Context:
        """What all of its trainings have in common."""
        config = self.config
        return Context(
            data=self.data,
            task=self.task,
            recipe=recipe_from(config, began),
            alone={key: self.alone(key, began) for key, parts in OWN_PARTS.items() if "loss" in parts},
            settings=without_secrets(plain(began)),
            folder=Path(config.paths.output_dir),
            store=store_of(config),
            describe=lambda training: describe(training, of_training(training, config), self.data, self.task),
        )

    def alone(self, key: str, named: DictConfig) -> Alone:
        """How what a key of the config says of is trained by itself."""
        config = recipe_of(key, self.config)
        own = own_terms(key, self.config)
        terms = supervised_terms(config, self.task) if own is None else terms_from(own, f"{key}.loss")
        curriculum = curriculum_from(own_curriculum(key, self.config), f"{key}.{CURRICULUM}")
        return Alone(recipe_from(config, recipe_of(key, named)), terms, own_batch_size(key, self.config), curriculum)


def of_training(training: Training, config: DictConfig) -> DictConfig:
    """The config by which a training is done."""
    return config if training.owner is None else recipe_of(training.owner, config)


def experiment_of(config: DictConfig, data: DataModule | None = None) -> Experiment:
    """What a config describes, still without data, and not checked. Raises `UserError` for what cannot be made."""
    data = data_of(config) if data is None else data
    return together(config, [of_one(own, data) for own in students_in(config)])


def of_one(config: DictConfig, data: DataModule) -> Experiment:
    return Experiment(config, data, task_of(config, data), student_of(config), teacher_of(config), plan_of(config))


def together(config: DictConfig, each: Sequence[Experiment]) -> Experiment:
    """The experiment of one student, or of several from that of each alone, which are of the same data."""
    if len(each) == 1:
        return each[0]
    costs = {key: cost for one in each for key, cost in one.costs.items()}
    return replace(each[0], config=config, costs=costs, each=each)
