"""Checks of the losses' arguments."""

import math

from kd_lightning.errors import UserError


def check_positive(**values: float) -> None:
    """UserError for a value that is not a finite number above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UserError(f"{name}={value}: must be a finite number above 0")


def check_not_negative(**values: float) -> None:
    """UserError for a value that is not a finite number of at least 0."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise UserError(f"{name}={value}: must be a finite number of at least 0")
