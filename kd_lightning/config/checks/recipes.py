"""Whether the recipes of a run's networks can be made, and the data serve them."""

from collections.abc import Iterable

from omegaconf import DictConfig

from kd_lightning.config.checks.arguments import check_arguments
from kd_lightning.config.checks.curricula import check_assessed
from kd_lightning.config.checks.training import check_devices, check_precision, check_training
from kd_lightning.config.checks.watched import check_watched
from kd_lightning.config.conf import plain
from kd_lightning.config.parts.described import data_of
from kd_lightning.config.parts.optimizer import without_beside
from kd_lightning.config.parts.recipe import BATCH_SIZE, PARTS, in_its_batches, own_batch_size, recipe_of
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.networks import Student, short_name


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


def check_same_trainer(config: DictConfig, first: DictConfig) -> None:
    """What trains a student trains the first one as long, for it is one fit. Raises UserError."""
    own, other = (plain(recipe_of(Student.owner, one).trainer) for one in (config, first))
    for name in sorted({*own, *other}):
        if own.get(name) != other.get(name):
            raise UserError(
                f"{Student.owner}.models: all learn in one fit, and trainer.{name} would be {other.get(name)} for the "
                f"first and {own.get(name)} for {short_name(plain(config.student.model))}; give "
                f"{Student.owner}.trainer.{name}={other.get(name)}"
            )


def check_data(config: DictConfig, owners: Iterable[str] = (), data: DataModule | None = None) -> DataModule:
    """The data module, whose own check finds nothing wrong, and which serves the run's recipe and those of owners.

    `data` are made already. Raises UserError.
    """
    if data is None:
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
