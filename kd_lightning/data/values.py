"""What the keys of a data config may be; all raise UserError naming the key."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError

MOST_VIEWS = 2**31 - 1  # of an image
LONGEST = 100  # of what a message repeats


def check_whole(key: str, value: Any, lowest: int, highest: int | None = None) -> None:
    """Raise UserError for anything but a whole number within limits."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest or value > (highest or value):
        limits = f"{lowest} or more" if highest is None else f"from {lowest} to {highest}"
        raise UserError(f"{key}={value}: must be a whole number, {limits}")


def check_flag(key: str, value: Any) -> None:
    """Raise UserError for anything but true and false."""
    if not isinstance(value, bool):
        raise UserError(f"{key}={value}: must be true or false")


def check_numbers(key: str, values: Any, count: int, *, positive: bool = False) -> None:
    """A list of so many finite numbers. Raises UserError for anything else."""
    fits = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count
    if not fits or not all(is_number(value) and (value > 0 or not positive) for value in values):
        above = " above 0" if positive else ""
        raise UserError(f"{key}={values}: must be a list of {count} numbers{above}, one for each channel")


def as_tuple(values: Any) -> Any:
    """A list as a tuple; what is none is told by `check_numbers`."""
    return tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else values


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_text(key: str, value: Any, what: str) -> None:
    """Raise UserError for anything but a text that is not empty, and null."""
    if value is not None and not (isinstance(value, str) and value and "\0" not in value):
        raise UserError(f"{key}={value!r}: must be {what}, or null")


def as_folder(key: str, value: Any) -> Path | None:
    """A folder's path, `~` and all; null is none. Raises UserError for what cannot be one."""
    if value is None:
        return None
    if not (isinstance(value, (str, Path)) and str(value)):
        raise UserError(f"{key}={value}: must be a folder's path")
    try:
        path = Path(value).expanduser()
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # told where it has to be there
        return path
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a user whom nobody knows, a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        shown = str(value) if len(str(value)) < LONGEST else f"{str(value)[:LONGEST]}…"
        raise UserError(f"{key}={shown!r}: cannot be a path here ({reason}); give another folder") from None
    return path


def check_callable(key: str, value: Callable[..., Any] | None, what: str) -> None:
    """Raise UserError for what can neither be called nor is null."""
    if value is not None and not callable(value):
        raise UserError(f"{key}={value}: must be {what}, as a mapping with _target_, or null")
