"""What the operating system says of a user's paths, in one line that names the setting."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from kd_lightning.errors import UserError

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
    errno.ENOSPC: "make room, and run the same command again",
    errno.EDQUOT: "make room, and run the same command again",
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
    named, remedy = setting(path, arguments), REMEDIES[error.errno]
    if error.errno == errno.ENAMETOOLONG and long and is_within(path, sweep or folder_of_jobs()):
        named = f"hydra.sweep.subdir={shortened(long[0])}"
        remedy += ", such as hydra.sweep.subdir='${hydra.job.num}'"
    refused = UserError(f"{named}: {error.strerror}; {remedy}")
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


def is_full_disk(error: BaseException | None) -> bool:
    """Whether nothing is wrong with what was given, but there is no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def current_folder() -> str:
    """Raises UserError where the folder that a command is typed in has been removed."""
    try:
        return os.getcwd()
    except OSError:
        raise UserError("the current folder does not exist any more; cd into one that does") from None
