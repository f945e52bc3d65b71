"""Files that a disk does not take: it is full, over its quota, read-only or failing, and who says so in which words."""

import errno
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REMEDIES = {  # whatever raised it, in a thread or in another process too
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EIO: "look after the disk",
    errno.EROFS: "make it writable",
    errno.ESTALE: "mount it again",
    errno.EREMOTEIO: "look after the disk",
}
BY_NOBODYS_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # whatever path is given
OF_A_WRITER = {  # where it is known that somebody writes
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENXIO: "look after the disk",
    errno.ENODEV: "look after the disk",
    errno.ETIMEDOUT: "look after the disk",
}
SHARED_MEMORY = re.compile(r"</torch_\w+>|out of shared memory")  # through which data loaders' workers send batches
NUMBERED = re.compile(r"\[Errno (\d+)\] [^\n:]*(?:: '([^'\n]+)')?|os error (\d+)\)")
WITHOUT_A_REASON = re.compile(  # of torch, C++, numpy, SQLite, Python's tempfile
    r"PytorchStreamWriter|unexpected pos \d+ vs|iostream error|\d+ requested and \d+ written"
    r"|database or disk is full|disk I/O error|No usable temporary directory"
)
TRIED = 2**16  # bytes


class NotWritten(OSError):  # noqa: N818
    """A file, by its name, that somebody has tried to write."""


def failure_of(error: BaseException) -> OSError | None:
    """What a disk says, if that is why an exception was raised: with its number, and the file where it is known."""
    found = [one for one in map(_own_failure, _chain(error)) if one is not None]
    return next((one for one in found if one.filename is not None), found[0] if found else None)


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Have whatever a disk says to the block be a `NotWritten` that names the file `path`, written as `temporary`.

    Raises NotWritten.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_A_WRITER:
            raise _named(error, path) from error
        failure = failure_of(error)
        if failure is None:
            raise
        if failure.errno is None and temporary is not None:
            failure = _write_error(temporary) or failure
        raise _named(failure, path) from error


@contextmanager
def thread_disk_errors() -> Iterator[list[BaseException]]:
    """The exceptions of threads that a disk is the reason of, which Python would print; TensorBoard writes in one.

    Of logs that cannot be written, such as those of Weights & Biases, nothing is printed either.
    """
    told: list[BaseException] = []
    before, before_of_logs = threading.excepthook, logging.Handler.handleError

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is None or failure_of(arguments.exc_value) is None:
            before(arguments)
        else:
            told.append(arguments.exc_value)

    def hook_of_logs(handler: logging.Handler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is None or failure_of(error) is None:
            before_of_logs(handler, record)

    threading.excepthook, logging.Handler.handleError = hook, hook_of_logs  # type: ignore[assignment,method-assign]
    try:
        yield told
    finally:
        threading.excepthook, logging.Handler.handleError = before, before_of_logs  # type: ignore[method-assign]


def is_of_the_disk(error: BaseException | None) -> bool:
    """Whether nothing is wrong with what was given, but the disk takes no more: by an exception, or its causes."""
    return any(isinstance(one, OSError) and one.errno in BY_NOBODYS_FAULT for one in _chain(error, causes_alone=True))


def remedy(failure: OSError) -> str:
    return {**OF_A_WRITER, **REMEDIES}.get(failure.errno or errno.ENOSPC, "make room")


def _chain(error: BaseException | None, *, causes_alone: bool = False) -> Iterator[BaseException]:
    """An exception and those that led to it, or that it was raised from; one may be raised from itself."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        led = None if causes_alone or error.__suppress_context__ else error.__context__
        error = error.__cause__ or led


def _own_failure(error: BaseException) -> OSError | None:
    if isinstance(error, NotWritten) or (isinstance(error, OSError) and error.errno in REMEDIES):
        return error
    text = str(error)
    for found in NUMBERED.finditer(text):
        number = int(found[1] or found[3])
        if number in REMEDIES:
            return OSError(number, os.strerror(number), found[2])
    place = "/dev/shm" if SHARED_MEMORY.search(text) else None
    number = next((one for one in REMEDIES if os.strerror(one) in text), errno.ENOSPC if place else 0)
    if number:
        return OSError(number, os.strerror(number), place)
    return OSError(" ".join(text.split())) if WITHOUT_A_REASON.search(text) else None


def _write_error(path: Path) -> OSError | None:
    """What the system says to some bytes more in a file that could not be written, of which nothing is left."""
    try:
        with path.open("ab") as file:
            file.write(bytes(TRIED))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    finally:
        with suppress(OSError):
            path.unlink()
    return None


def _named(failure: OSError, path: Path) -> NotWritten:
    return NotWritten(failure.errno or errno.EIO, failure.strerror or str(failure), str(path))
