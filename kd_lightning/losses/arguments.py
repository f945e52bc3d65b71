"""Checks of the losses' arguments."""

import math

from torch import Tensor

from kd_lightning.errors import UserError


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


def check_same_classes(student: Tensor, teacher: Tensor) -> None:
    """UserError for logits of different shapes."""
    if student.shape != teacher.shape:
        raise UserError(
            f"signals={tuple(student.shape)} and {tuple(teacher.shape)}: logits of different shapes cannot be "
            "compared; take a teacher that knows the student's classes"
        )


def check_one_label(target: Tensor) -> None:
    """UserError for labels that are probabilities."""
    if target.ndim != 1:
        raise UserError(
            f"target={tuple(target.shape)}: this loss needs one class for each image, as (B,); do not mix labels"
        )
