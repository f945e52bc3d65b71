"""Checks of the losses' arguments, which are numbers or schedules of them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import check_logits, check_target
from kd_lightning.schedules.progress import Number, Schedule, extremes


def check_positive(**values: Any) -> None:
    """UserError for a value that is not a finite number above 0, or a schedule of such."""
    check_numbers(lambda number: 0 < number < math.inf, "a finite number above 0", **values)


def check_not_negative(**values: Any) -> None:
    """UserError for a value that is not a finite number of at least 0, or a schedule of such."""
    check_numbers(lambda number: 0 <= number < math.inf, "a finite number of at least 0", **values)


def check_share(**values: Any) -> None:
    """UserError for a value that is not a number of at least 0 and below 1, or a schedule of such."""
    check_numbers(lambda number: 0 <= number < 1, "at least 0 and below 1", **values)


def check_whole(**values: Any) -> None:
    """UserError for a value that is not a whole number above 0, or a schedule of such, which moves by steps."""
    for name, value in values.items():
        check_positive(**{name: value})
        if not (value.is_whole() if isinstance(value, Schedule) else float(value).is_integer()):
            steps = "; of the schedules Steps alone takes whole ones" if isinstance(value, Schedule) else ""
            raise UserError(f"{name}={value}: must be a whole number{steps}")


def check_constant(**values: Any) -> None:
    """UserError for a schedule of what is made once, before the training, such as the width of a layer."""
    for name, value in values.items():
        if isinstance(value, Schedule):
            raise UserError(f"{name}={value}: decides what is made before the training; give a number, no schedule")


def check_numbers(allowed: Callable[[float], bool], what: str, **values: Any) -> None:
    """UserError for a value that is no number, or not allowed, or a schedule that takes a number which is not."""
    for name, value in values.items():
        for number in extremes(value):
            if isinstance(number, (int, float)) and allowed(number):
                continue
            takes = f"takes the value {number:g}; " if isinstance(value, Schedule) else ""
            raise UserError(f"{name}={value}: {takes}must be {what}{_hint(value)}")


def as_number(value: Number) -> float:
    """A loss's argument as `forward` finds it: `Term` has a number stand in for a schedule by then."""
    return cast(float, value)


def as_whole(value: int | Schedule) -> int:
    """The same of a whole number."""
    return cast(int, value)


def _hint(value: Any) -> str:
    return ", or a kd_lightning.schedules.Schedule" if callable(value) and not isinstance(value, Schedule) else ""


def check_same_classes(student: Tensor, *others: Tensor) -> None:
    """UserError unless all are logits (N, C) of equal shape."""
    shapes = " and ".join(str(tuple(logits.shape)) for logits in (student, *others))
    with _naming(f"signals={shapes}"):
        check_logits(student, *others)


def check_labels(logits: Tensor, target: Tensor) -> None:
    """UserError unless these are logits (N, C), and class indices (N,) or probabilities (N, C)."""
    check_same_classes(logits)
    with naming_shapes(target=target):
        check_target(logits, target)


def check_one_label(target: Tensor) -> None:
    """UserError for labels that are probabilities."""
    if target.ndim != 1:
        raise UserError(
            f"target={tuple(target.shape)}: this loss needs one class for each image, as (B,); do not mix labels"
        )


@contextmanager
def naming_shapes(**values: Tensor) -> Iterator[None]:
    """Raise the ValueError of a function as UserError, with the argument in front of it."""
    with _naming(" ".join(f"{name}={tuple(value.shape)}" for name, value in values.items())):
        yield


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"{what}: {error}") from error


def plain_attributes(loss: object) -> dict[str, int | float | str | bool]:
    """The numbers and texts that a loss was made with, such as its temperature, by the names of its attributes."""
    return {
        name: value
        for name, value in vars(loss).items()
        if not name.startswith("_") and name != "training" and isinstance(value, (int, float, str, bool))
    }
