"""The exceptions that commands tell in one line: bad input, and a training that went wrong."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input: one line that names the key, its value and the remedy.

    The commands print it without a traceback and exit with code 2.

    Examples:
        >>> from kd_lightning.errors import UserError
        >>> from kd_lightning.losses import SoftTarget
        >>> try:
        ...     SoftTarget(temperature=0)
        ... except UserError as error:
        ...     print(error)
        temperature=0: must be a finite number above 0
    """


class NonFinite(RuntimeError):  # noqa: N818
    """A training met a loss, a gradient or weights that are NaN or infinite: one line with the step and the batch.

    The commands print it without a traceback and exit with code 1.
    """


class DiskFailure(RuntimeError):  # noqa: N818
    """A file could not be written while a command ran: one line with the file, what the system says and how to go on.

    The commands print it without a traceback and exit with code 1.
    """


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The closest of the names as a question, or nothing."""
    close = get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]}? " if close else ""
