"""Small files that are read back: written with a checksum, and read only if they are as they were written."""

import errno
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.terminal import warn

NUMBER, NONE = (int, float), type(None)
UNREADABLE = (errno.EISDIR, errno.EACCES, errno.EPERM, errno.EIO)
BLANKS = str.maketrans("01", " \t")
# The last line of a file, and the checksum that it tells.
SEALED_JSON = re.compile(rb"([ \t]{32})\n\Z"), lambda line: int(line.translate(bytes.maketrans(b" \t", b"01")), 2)
SEALED_YAML = re.compile(rb"# crc32: ([0-9a-f]{8})\n\Z"), lambda line: int(line, 16)


class Damaged(UserError):  # noqa: N818
    """A file that is not what was written there, or that cannot be read."""


@dataclass(frozen=True)
class Each:
    """The shape of a mapping of any names: that of its values, and what it has at least."""

    value: Any
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Then:
    """A shape, and what follows from a value of it: the further shape that `further` makes of the value."""

    shape: Any
    further: Callable[[Any], Any]


def sealed_json(text: str) -> str:
    """JSON with a last line that holds its checksum in blanks: a key would be one of its own to other readers."""
    bits = f"{zlib.crc32(text.encode()):032b}"
    return f"{text}{bits.translate(BLANKS)}\n"


def sealed_yaml(text: str) -> str:
    """YAML with a last line that holds its checksum, a comment."""
    return f"{text}# crc32: {zlib.crc32(text.encode()):08x}\n"


def read_record(
    path: Path, shape: Any, parse: Callable[[str], Any] = json.loads, remedy: str = "", *, strict: bool = False
) -> Any:
    """What a file holds; None where it is not there.

    Raises `Damaged`, which ends with the remedy, where it is not as it was written, or not of this shape; see `fault`.
    One without its checksum, as somebody who edits it may leave it, is taken as it stands, with a warning; `strict`,
    for what is easily made anew, has it count as damaged.
    """
    try:
        return _read(path, shape, parse, strict)
    except Damaged as error:
        raise Damaged(f"{error}; {remedy}" if remedy else str(error)) from None


def sound_record(
    path: Path, shape: Any, consequence: str, parse: Callable[[str], Any] = json.loads, *, strict: bool = False
) -> Any:
    """The same; None with a warning, which ends with the consequence, where the file is damaged."""
    try:
        return _read(path, shape, parse, strict)
    except Damaged as error:
        warn_once(f"{error}; {consequence}")
        return None


def warn_of_absent(path: Path, consequence: str) -> None:
    """Say that a file is not there, which others beside it tell that it was written."""
    if not path.exists():
        warn_once(f"{path}: is not there any more; {consequence}")


def _read(path: Path, shape: Any, parse: Callable[[str], Any], strict: bool) -> Any:
    found = _text_of(path)
    if found is None:
        return None
    content, is_sealed = found
    try:
        value = parse(content)
    except Exception as error:  # a damaged file can raise anything
        raise damaged(path, "is empty" if not content.strip() else "cannot be parsed") from error
    if (wrong := fault(value, shape)) is not None:
        raise damaged(path, wrong)
    if not is_sealed and strict:
        raise damaged(path, "its checksum is not there")
    if not is_sealed:
        warn_once(f"{path}: has no checksum, as if it was cut or changed by hand; it is taken as it stands")
    return value


def _text_of(path: Path) -> tuple[str, bool] | None:
    """A file's text, and whether a checksum stood behind it; None where it is not there.

    Raises `Damaged` where it was changed.
    """
    try:
        content = path.read_bytes()
        for seal, bits in (SEALED_JSON, SEALED_YAML):
            if found := seal.search(content):
                content = content[: found.start()]
                if zlib.crc32(content) != bits(found[1]):
                    raise damaged(path, "its checksum is another")
                return content.decode(), True
        return content.decode(), False
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        raise damaged(path, unreadable(error)) from error
    except UnicodeDecodeError as error:
        raise damaged(path, "is no UTF-8") from error


def archive_is_damaged(path: Path) -> bool:
    """Whether a zip archive, such as torch's or numpy's with a checksum of each part, is not what was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except Exception:  # a damaged file can raise anything
        return True


def damaged(path: Path, reason: str) -> Damaged:
    return Damaged(f"{path}: is damaged ({reason})")


def unreadable(error: OSError) -> str:
    """Why the system gives no content of a file."""
    return "a folder is in its place" if isinstance(error, IsADirectoryError) else str(error.strerror or error)


@cache
def warn_once(text: str) -> None:
    """A warning of what may be met several times."""
    warn(text)


def fault(value: Any, shape: Any, key: str = "") -> str | None:
    """What of plain values is not of a shape; None where all is.

    A shape is a type, a tuple of shapes of which one fits, a set of texts of which it is one, a list with the shape of
    each entry, a mapping with the shapes of keys that have to be there, an `Each`, or a `Then`.
    """
    if isinstance(shape, Then):
        return fault(value, shape.shape, key) or fault(value, shape.further(value), key)
    if isinstance(shape, tuple):
        faults = [fault(value, one, key) for one in shape]
        return None if None in faults else faults[0]
    if isinstance(shape, frozenset):
        return None if isinstance(value, str) and value in shape else f"{key or 'it'} is {value!r:.40}"
    if isinstance(shape, type):
        return None if isinstance(value, shape) else f"{key or 'it'} is {value!r:.40}"
    if isinstance(shape, list):
        entries = enumerate(value) if isinstance(value, list) else None
        inner = None if entries is None else {f"{key}[{index}]": (one, shape[0]) for index, one in entries}
    elif isinstance(value, Mapping):
        known = shape.known if isinstance(shape, Each) else shape
        if missing := [name for name in known if name not in value]:
            return f"{'.'.join(filter(None, (key, missing[0])))} is missing"
        others = {name: shape.value for name in value if name not in known} if isinstance(shape, Each) else {}
        inner = {f"{key}.{name}".lstrip("."): (value[name], one) for name, one in {**known, **others}.items()}
    else:
        inner = None
    if inner is None:
        return f"{key or 'it'} is {value!r:.40}"
    return next((wrong for name, (one, of) in inner.items() if (wrong := fault(one, of, name)) is not None), None)
