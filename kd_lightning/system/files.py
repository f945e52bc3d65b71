"""Files and folders that are there whole or not at all: the one place that renames."""

import glob
import json
import math
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kd_lightning.system.disk import writing
from kd_lightning.system.locks import lock_if_free, lock_open
from kd_lightning.system.records import sealed_json

DAY = 24 * 60 * 60.0  # seconds
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write in one rename, with a checksum; numbers that JSON has not become null."""
    set_aside_folder(path)
    write_text(path, sealed_json(json.dumps(finite(record), indent=2, allow_nan=False) + "\n"))


def write_text(path: Path, text: str) -> None:
    """Write in one rename, so that a half-written file never exists."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write instead, of this process alone, which takes the place of `path` once it is whole.

    It is locked meanwhile; what a process that was killed wrote for the same place is not any more, and is removed.
    Raises `NotWritten` for whatever the disk says to it.
    """
    for other in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 32}"):
        _remove_abandoned(other)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with writing(path, temporary):
        try:
            with _held(temporary):
                yield temporary
                os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed were `replacing` in a folder, whoever else writes there."""
    for path in folder.rglob(".*"):
        _remove_abandoned(path)


@contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Make a file and lock it, so that others see that a process is at work on it."""
    while True:
        file = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_open(file)
            if _is_open_as(file, temporary):  # not taken for abandoned before it was locked
                yield
                return
        finally:
            os.close(file)


def _remove_abandoned(temporary: Path) -> None:
    """Remove a file that nobody writes any more: no process locks it, or without locks, nobody touched it for a day."""
    if not TEMPORARY.fullmatch(temporary.name) or not temporary.is_file():
        return
    try:
        file = os.open(temporary, os.O_RDWR)
    except OSError:
        return
    try:
        if lock_if_free(file):
            temporary.unlink(missing_ok=True)
    except OSError:
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > DAY:
                temporary.unlink(missing_ok=True)
    finally:
        os.close(file)


def _is_open_as(file: int, path: Path) -> bool:
    """Whether a descriptor is of the file that has this name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def put_in_place(folder: Path, place: Path) -> None:
    """Give a folder that is whole its name, where there is none. Raises OSError where another one has it."""
    os.replace(folder, place)


def set_aside_folder(path: Path) -> None:
    """Give a folder another name where it stands in a file's place."""
    if path.is_dir():
        os.replace(path, path.with_name(f"{path.name}.{uuid.uuid4().hex}"))


def synced(path: Path) -> None:
    """Have a file or a folder on disk, whatever happens to the machine from now on."""
    with writing(path):
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
