"""Checking a composed config before anything is trained or downloaded."""

from omegaconf import DictConfig

from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.checks.curricula import check_curriculum, check_own_curriculum
from kd_lightning.config.checks.overrides import culprit_override
from kd_lightning.config.checks.recipes import check_data, check_own_recipe, check_recipe, check_same_trainer
from kd_lightning.config.checks.training import check_compilation, check_root_schedules
from kd_lightning.config.checks.values import check_values
from kd_lightning.config.parts.described import plan_of, student_of, teacher_of, trained_alone
from kd_lightning.config.parts.recipe import own_terms
from kd_lightning.config.parts.students import naming, students_in
from kd_lightning.config.parts.task import task_of
from kd_lightning.config.refusals.bad_input import BAD_INPUT
from kd_lightning.config.refusals.blame import SEE_ALL, reason_of
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.networks import check_classes, check_models, check_weights
from kd_lightning.experiment.experiment import Experiment, together
from kd_lightning.networks import Student
from kd_lightning.plans.plan import check_plan
from kd_lightning.teachers import Teacher

GROUPS = ("data", "task", "loss", "initialization", "curriculum", "plan", "callbacks", "logger")


def check(config: DictConfig) -> Experiment:
    """What a sound config describes, still without data; raises `UserError` for the first thing that is wrong."""
    try:
        return check_all(config)
    except (*BAD_INPUT, OSError):
        raise
    except Exception as error:  # of a value that no check knows of
        override = culprit_override(check_all) or "the config"
        raise UserError(f"{override}: the config cannot be checked: {reason_of(error)}; {SEE_ALL}") from error


def check_all(config: DictConfig) -> Experiment:
    """The same, where a value that no check knows of may raise anything."""
    check_values(config)
    each: list[Experiment] = []
    for place, own in enumerate(students_in(config)):
        with naming(place, config):
            each.append(check_student(own, each[0] if each else None))
    for place, one in enumerate(each):
        with naming(place, config):
            check_classes(one)
            check_models(one, one.parts, {f"student_{n}": other for n, other in enumerate(each, 1) if other is not one})
            check_weights(one)
    experiment = together(config, each)
    check_plan(experiment.plan, experiment.parts)
    return experiment


def check_student(config: DictConfig, first: Experiment | None) -> Experiment:
    """The experiment of one student, whose networks are not built yet; of several it goes with the first one's."""
    if first is not None:
        check_values(config)
        check_same_trainer(config, first.config)
    student, teacher = check_networks(config)
    check_compilation(config)
    for group in GROUPS:
        check_arguments(config[group], group)
    check_root_schedules(config)
    check_recipe(config, config.loss)
    trainings = {student.owner: config.loss}  # each that may have a recipe of its own, with its terms
    trainings |= {one.alone: own_terms(one.alone, config) for one in trained_alone(config, student, teacher)}
    for owner, loss in trainings.items():
        check_own_recipe(owner, config, loss)
    check_curriculum(config, teacher)
    for owner in trainings:
        check_own_curriculum(owner, config)
    data = check_data(config, trainings, None if first is None else first.data)
    return Experiment(config, data, task_of(config, data), student, teacher, plan_of(config))


def check_networks(config: DictConfig) -> tuple[Student, Teacher]:
    """Student and teacher as the config describes them, sound by their values. Raises UserError."""
    for group in ("student", "teacher"):
        check_arguments(config[group], group)
    student, teacher = student_of(config), teacher_of(config)
    student.check()
    teacher.check()
    return student, teacher
