"""Checking the schedules that stand for numbers of a config: they can be made, and take numbers that are allowed."""

from collections.abc import Callable

from omegaconf import DictConfig

from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.arguments import check_arguments
from kd_lightning.experiment.checks.values import OF_SOFT_TARGETS
from kd_lightning.experiment.networks.instantiation import make
from kd_lightning.objective import Objective
from kd_lightning.schedules.progress import BEGIN, END, Schedule


def check_root_schedules(config: DictConfig) -> None:
    """Raise `UserError` for a `temperature` or `alpha` that is no schedule, or one of numbers that are not allowed."""
    for key, (allowed, meaning) in OF_SOFT_TARGETS.items():
        if not isinstance(config[key], DictConfig):
            continue
        check_arguments(config[key], key)
        made: object = make(config[key], key)
        if not isinstance(made, Schedule):
            raise UserError(
                f"{key}._target_={config[key]._target_}: makes no kd_lightning.schedules.Schedule; give one, such as "
                "kd_lightning.schedules.Linear"
            )
        check_numbers(f"{key}={made}", made, allowed, meaning)


def check_weights_of_terms(objective: Objective, key: str) -> None:
    """Raise `UserError` for a schedule of a term's weight that gives what is not 0 or more."""
    for name, term in objective.items():
        if callable(term.weight):
            check_numbers(f"{key}.{name}.weight={term.weight}", term.weight, lambda weight: weight >= 0, "0 or more")


def check_numbers(given: str, schedule: Callable[..., float], allowed: Callable[[float], bool], meaning: str) -> None:
    """Raise `UserError` for a number of a schedule that is not allowed; `given` is its key and value."""
    numbers = schedule.extremes() if isinstance(schedule, Schedule) else (schedule(BEGIN), schedule(END))
    for number in numbers:
        if not allowed(number):
            raise UserError(f"{given}: takes the value {number:g}; {meaning}")
