"""This process: its environment, and what it must end before it ends."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

at_end = ExitStack()  # what a command began that must end with it, however it ends


@contextmanager
def environment(name: str, value: str | None) -> Iterator[None]:
    """An environment variable with another value, or without one."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
