"""Checking a composed config before anything is trained or downloaded."""

from collections.abc import Iterable

from omegaconf import DictConfig

from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.checks.curricula import check_assessed, check_curriculum, check_own_curriculum
from kd_lightning.config.checks.overrides import culprit_override
from kd_lightning.config.checks.training import (
    check_compilation,
    check_devices,
    check_precision,
    check_root_schedules,
    check_training,
)
from kd_lightning.config.checks.values import check_values
from kd_lightning.config.checks.watched import check_watched
from kd_lightning.config.parts.described import data_of, plan_of, student_of, teacher_of, trained_alone
from kd_lightning.config.parts.optimizer import without_beside
from kd_lightning.config.parts.recipe import (
    BATCH_SIZE,
    PARTS,
    in_its_batches,
    own_batch_size,
    own_terms,
    recipe_of,
)
from kd_lightning.config.parts.task import task_of
from kd_lightning.config.refusals.bad_input import BAD_INPUT
from kd_lightning.config.refusals.blame import SEE_ALL, reason_of
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.networks import check_classes, check_models, check_weights
from kd_lightning.experiment.experiment import Experiment
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
    data = check_data(config, trainings)
    experiment = Experiment(config, data, task_of(config, data), student, teacher, plan_of(config))
    check_classes(experiment)
    check_models(experiment, experiment.parts)
    check_weights(experiment)
    check_plan(experiment.plan, experiment.parts)
    return experiment


def check_networks(config: DictConfig) -> tuple[Student, Teacher]:
    """Student and teacher as the config describes them, sound by their values. Raises UserError."""
    for group in ("student", "teacher"):
        check_arguments(config[group], group)
    student, teacher = student_of(config), teacher_of(config)
    student.check()
    teacher.check()
    return student, teacher


def check_recipe(config: DictConfig, loss: DictConfig | None) -> None:
    """Optimizer, schedule and trainer are sound, and train at least one step on these terms. Raises UserError."""
    for key in ("max_epochs", "max_steps"):
        if config.trainer.get(key) == 0:
            raise UserError(f"trainer.{key}=0: nothing to train; give at least one epoch and one step")
    if config.trainer.get("limit_test_batches") == 0:
        raise UserError(
            "trainer.limit_test_batches=0: networks are compared by a test; give at least 1, or test=false, which "
            "leaves out the student's"
        )
    check_precision(config)
    for group in PARTS:
        check_arguments(without_beside(config[group]) if group == "optimizer" else config[group], group)
    check_devices(config.trainer)
    check_training(config, loss)


def check_own_recipe(owner: str, config: DictConfig, loss: DictConfig | None) -> None:
    """The same of a training that has something of its own under its owner's key. Raises UserError."""
    own = recipe_of(owner, config)
    if own is config:
        return
    try:
        check_recipe(own, loss)
    except UserError as error:
        raise UserError(f"{owner}.{error}") from error


def check_data(config: DictConfig, owners: Iterable[str] = ()) -> DataModule:
    """The data module, whose own check finds nothing wrong, and which serves the run's recipe and those of owners.

    Raises UserError.
    """
    data = data_of(config)
    data.check()
    check_assessed(config, data)
    check_watched(config, data)
    for owner in owners:
        try:
            in_its_batches(owner, config, data)
        except UserError as error:
            size = own_batch_size(owner, config)
            raise UserError(
                f"{owner}.data.{BATCH_SIZE}={size}: {data.name} makes its batches by itself; leave it null"
            ) from error
        check_watched(recipe_of(owner, config), data, f"{owner}.")
    return data
