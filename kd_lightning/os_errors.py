"""What the operating system says of a user's paths, in one line that names the setting."""

import errno
import os
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig

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
SHOWN = 80  # characters of a value


def refusal(error: OSError, arguments: Sequence[str]) -> UserError | None:
    """What is wrong with a path, by the argument of the command that gave it; None for what concerns no path."""
    if error.errno not in REMEDIES or error.filename is None:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
    reason = f"{error.strerror}; {REMEDIES[error.errno]}"
    if error.errno == errno.ENAMETOOLONG and is_of_a_job(path):
        reason += ", such as hydra.sweep.subdir='${hydra.job.num}'"
        refused = UserError(f"hydra.sweep.subdir={shortened(os.path.basename(path))}: {reason}")
    else:
        refused = UserError(f"{setting(path, arguments)}: {reason}")
    refused.__cause__ = error
    return refused


def setting(path: str, arguments: Sequence[str]) -> str:
    """The argument that a path comes from, shortened; the path itself where none gave it."""
    given = {argument: argument.partition("=")[2] or argument for argument in arguments}
    given = {argument: os.path.expanduser(value.strip("'\"")) for argument, value in given.items()}
    told = [argument for argument, value in given.items() if value and value in path]
    if not told:
        return shortened(path)
    key, sign, value = max(told, key=lambda argument: len(given[argument])).partition("=")
    return f"{key.lstrip('+')}={shortened(value)}" if sign else shortened(key)


def is_of_a_job(path: str) -> bool:
    """Whether it lies in the folder of a multirun."""
    if not HydraConfig.initialized() or HydraConfig.get().job.num is None:
        return False
    sweep = os.path.abspath(HydraConfig.get().sweep.dir)
    return os.path.commonpath([sweep, os.path.abspath(path)]) == sweep


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
