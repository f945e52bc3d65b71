"""Checks of the losses' arguments."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import check_logits, check_target


def check_positive(**values: float) -> None:
    """UserError for a value that is not a finite number above 0."""
    for name, value in values.items():
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise UserError(f"{name}={value}: must be a finite number above 0")


def check_not_negative(**values: float) -> None:
    """UserError for a value that is not a finite number of at least 0."""
    for name, value in values.items():
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise UserError(f"{name}={value}: must be a finite number of at least 0")


def check_same_classes(student: Tensor, *others: Tensor) -> None:
    """UserError unless all are logits (N, C) of equal shape."""
    shapes = " and ".join(str(tuple(logits.shape)) for logits in (student, *others))
    with _naming(f"signals={shapes}"):
        check_logits(student, *others)


def check_labels(logits: Tensor, target: Tensor) -> None:
    """UserError unless these are logits (N, C), and class indices (N,) or probabilities (N, C)."""
    check_same_classes(logits)
    with _naming(f"target={tuple(target.shape)}"):
        check_target(logits, target)


def check_one_label(target: Tensor) -> None:
    """UserError for labels that are probabilities."""
    if target.ndim != 1:
        raise UserError(
            f"target={tuple(target.shape)}: this loss needs one class for each image, as (B,); do not mix labels"
        )


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"{what}: {error}") from error
