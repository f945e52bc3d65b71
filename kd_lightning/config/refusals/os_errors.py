"""What the operating system says of a user's paths, in one line that names the setting."""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from kd_lightning.errors import DiskFailure, UserError
from kd_lightning.system.disk import BY_NOBODYS_FAULT, failure_of, remedy

REMEDIES = {
    errno.ENAMETOOLONG: "a name has at most 255 bytes, a path 4,096; give a shorter one",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file stands where a folder has to be; check the path",
    errno.EISDIR: "a folder stands where a file has to be; check the path",
    errno.EEXIST: "something else has this name; give another path",
    errno.EACCES: "give a path that you may read and write",
    errno.EPERM: "give a path that you may read and write",
    errno.EROFS: "give a path that can be written",
    errno.ELOOP: "links lead in a circle; check the path",
    errno.EINVAL: "give another path",
}
LONGEST = 255  # bytes of a name
SHOWN = 80  # characters of a value


def refusal(error: OSError, arguments: Sequence[str], sweep: str | None = None) -> UserError | None:
    """What is wrong with a path, by the argument of the command that gave it; None for what concerns no path.

    `sweep` is the folder of a multirun, where one is about to begin.
    """
    if error.errno not in REMEDIES or error.filename is None:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
    long = [part for part in path.split(os.sep) if len(os.fsencode(part)) > LONGEST]
    named, advice = setting(path, arguments), REMEDIES[error.errno]
    if error.errno == errno.ENAMETOOLONG and long and is_within(path, sweep or folder_of_jobs()):
        named = f"hydra.sweep.subdir={shortened(long[0])}"
        advice += ", such as hydra.sweep.subdir='${hydra.job.num}'"
    refused = UserError(f"{named}: {error.strerror}; {advice}")
    refused.__cause__ = error
    return refused


def setting(path: str, arguments: Sequence[str]) -> str:
    """The argument that a path comes from, shortened; the path itself where none gave it."""
    found = [(key.lstrip("+") + sign, value.strip("'\"")) for key, sign, value in map(divided, arguments)]
    values = {(key, value): os.path.expanduser(value) for key, value in found if value}
    told = [one for one, value in values.items() if value in path or path in value]
    key, value = max(told, key=lambda one: len(values[one]), default=("", path))
    return f"{key}{shortened(value)}"


def divided(argument: str) -> tuple[str, str, str]:
    """Key, sign and value of an override; of any other argument the last alone."""
    key, sign, value = argument.partition("=")
    return (key, sign, value) if sign else ("", "", argument)


def folder_of_jobs() -> str | None:
    """The folder of the multirun that this process runs a job of."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return str(HydraConfig.get().sweep.dir)


def is_within(path: str, folder: str | None) -> bool:
    return folder is not None and Path(folder).absolute() in Path(path).absolute().parents


def shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 4 :]}"


def disk_failure(error: BaseException, run: Path | None, goes_on: str) -> DiskFailure | None:
    """What a disk says to a command, if that is why an exception was raised.

    `run` is the folder of a run that has begun: a folder that may not be written before is bad input, see `refusal`.
    `goes_on` is how the command does once there is room.
    """
    found = failure_of(error)
    if found is None and isinstance(error, PermissionError) and error.filename is not None:
        found = error if run is not None and is_within(os.fsdecode(error.filename), str(run)) else None
    if found is None or (run is None and found.errno not in (None, *BY_NOBODYS_FAULT)):
        return None
    place = found.filename if found.filename is not None else output_that_is_full() or (run and f"a file of {run}")
    reason = found.strerror or " ".join(str(found).split())
    told = DiskFailure(
        f"{'a file' if place is None else os.fsdecode(place)}: cannot be written ({reason}); {remedy(found)}, then "
        f"{goes_on}"
    )
    told.__cause__ = error
    return told


def output_that_is_full() -> str | None:
    """The channel that goes to a file which takes no more, and from now on goes nowhere; None where that is none."""
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        if stream.isatty():
            continue
        try:
            print(file=stream, flush=True)
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return name
    return None


def current_folder() -> str:
    """Raises UserError where the folder that a command is typed in has been removed."""
    try:
        return os.getcwd()
    except OSError:
        raise UserError("the current folder does not exist any more; cd into one that does") from None
