"""Waiting for another process that makes what this one needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from kd_lightning.terminal import say


@contextmanager
def held(lock: FileLock, made: str) -> Iterator[None]:
    """Hold a lock, and say so where that means to wait for another run, which has or makes what it guards."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("waiting", f"for another run, which is at work on {made}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
