"""Files that are there whole or not at all."""

import fcntl
import glob
import json
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write in one rename; numbers that JSON has not become null."""
    write_text(path, json.dumps(finite(record), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write in one rename, so that a half-written file never exists."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write instead, of this process alone, which takes the place of `path` once it is whole.

    It is locked meanwhile; what a process that was killed wrote for the same place is not any more, and is removed.
    """
    for other in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if TEMPORARY.fullmatch(other.name) and other.name.count(".") == path.name.count(".") + 2:
            remove_unless_locked(other)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with locked(temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A file that is made, and locked, where the file system has locks, for as long as this process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while has_locked(descriptor) and not path.exists():  # `remove_unless_locked` came between
            os.close(descriptor)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        yield
    finally:
        os.close(descriptor)


def has_locked(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True


def remove_unless_locked(path: Path) -> None:
    """Remove a file that no living process has locked, as far as this one may."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            if has_locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink()
        finally:
            os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed was `replacing` in a folder where nobody else writes."""
    for path in folder.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


def synced(path: Path) -> None:
    """Have a file or a folder on disk, whatever happens to the machine from now on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """Plain values without the numbers that JSON has not, which become null."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
