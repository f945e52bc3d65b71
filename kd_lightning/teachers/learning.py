"""A teacher that learns beside its student: L = L_student + weight·L_teacher on each batch, in one training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from kd_lightning.data.values import is_number
from kd_lightning.errors import UserError
from kd_lightning.schedules import Times
from kd_lightning.training.context import Terms

if TYPE_CHECKING:
    from kd_lightning.teachers.network import NetworkTeacher


def weighted(terms: Callable[[], Terms], weight: float) -> Terms:
    """Terms with so many times their weights, a number or a schedule each."""
    found = {}
    for name, term in terms().items():
        found[name] = own = copy.copy(term)
        own.weight = Times(term.weight, weight) if callable(term.weight) else weight * term.weight
    return found


def check_changing(teacher: NetworkTeacher, answers: str, normalises: str) -> None:
    """Raise `UserError` for kept answers, and for statistics of batches, of a teacher that changes, and say why."""
    if teacher.answers.is_on:
        raise UserError(
            f"teacher.cache={teacher.answers.cache}: keeps answers that never change, and {answers}; use "
            "teacher.cache=off"
        )
    if teacher.batch_statistics:
        raise UserError(f"teacher.batch_statistics=true: a teacher {normalises}; leave it false")


def check_learning(teacher: NetworkTeacher) -> None:
    """Raise `UserError` for what does not go with learning beside the student, and for a weight of no such teacher."""
    trained, weight = teacher.learns, teacher.weight
    if not isinstance(trained, bool):
        raise UserError(f"teacher.trained={trained}: must be true, beside the student, or false")
    if not (is_number(weight) and weight > 0):
        raise UserError(
            f"teacher.weight={weight}: what the teacher's own loss counts beside the student's, a number above 0; 1 is "
            "as much"
        )
    if not trained:
        if weight != 1:
            raise UserError(
                f"teacher.weight={weight}: weighs the loss of a teacher that learns beside the student; give "
                "teacher.trained=true, or leave it out"
            )
        return
    check_changing(
        teacher,
        "with teacher.trained=true they do in each step",
        "with teacher.trained=true normalises by each batch as it is",
    )
    for key, value in teacher.of_another_training.items():
        if value is not None:
            raise UserError(
                f"teacher.{key}={value}: is of a training of the teacher alone, and with teacher.trained=true there is "
                "one of both; leave it null"
            )
