"""Locks of files, by which processes keep out of each other's way: the one place that takes them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kd_lightning.terminal import say

Lock = FileLock


class Busy(Exception):  # noqa: N818
    """Another process has a lock."""


def take(path: Path, seconds: float = 0.0) -> Lock:
    """A lock that is had within so many seconds; it ends with `release`, or with this process.

    Raises `Busy` where another process has it, and OSError where the file cannot be written.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise Busy(str(path)) from None
    return lock


@contextmanager
def held(path: Path, made: str) -> Iterator[None]:
    """Hold a lock, and say so where that means to wait for another run, which has or makes what it guards."""
    try:
        lock = take(path)
    except Busy:
        say("waiting", f"for another run, which is at work on {made}")
        lock = take(path, seconds=-1)
    try:
        yield
    finally:
        lock.release()


def lock_open(file: int) -> None:
    """Lock an open file until it is closed; nothing on a file system without locks."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def lock_if_free(file: int) -> bool:
    """Lock an open file until it is closed, unless another process has. Raises OSError where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
