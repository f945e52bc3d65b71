"""What the loaders of a user's own data module hold, as digests: two of the same digest give the same samples."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor

from kd_lightning.data.derived.peek import seeded

SAMPLES = 64  # of a data set that are read, evenly spread; what lies in memory counts as a whole


@dataclass(frozen=True)
class Content:
    """What one of a data module's parts holds: how many samples, a digest, or why none decides what they are."""

    samples: int | None
    digest: str | None
    undecided: str | None = None

    @classmethod
    def of(cls, given: Any) -> "Content":
        """What the data sets of a part's loader, or loaders, hold; the random numbers go on as if nothing was drawn."""
        loaders = (given if isinstance(given, CombinedLoader) else CombinedLoader(given)).flattened
        digest, total = hashlib.sha256(), 0
        for loader in loaders:
            data = getattr(loader, "dataset", None)
            try:
                samples = len(data)  # type: ignore[arg-type]
            except TypeError:
                return cls(None, None, f"its {type(loader).__name__} has no length")
            total += samples
            try:
                found = [content_of(data, samples) for _ in range(2)]
            except Exception as error:  # whatever the user's class raises
                return cls(total, None, f"its data set cannot be read by itself ({type(error).__name__})")
            if found[0] != found[1]:
                return cls(total, None, "its samples differ each time that they are read")
            digest.update(f"{found[0]} {getattr(loader, 'batch_size', None)}".encode())
        return cls(total, digest.hexdigest())


def content_of(data: Any, samples: int) -> str:
    """The digest of a data set: what it has in memory, and some of its samples."""
    digest = hashlib.sha256()
    with seeded(0):
        for index in sorted({i * samples // SAMPLES for i in range(SAMPLES)}) if samples else ():
            digest.update(b"|".join(pieces(data[index])))
    digest.update(b"|".join(pieces(data)))
    return digest.hexdigest()


def pieces(value: Any, seen: set[int] | None = None) -> Iterator[bytes]:
    """What a value is made of, in order; of an object its class and its attributes, each object once."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif value is None or isinstance(value, (str, int, float, complex, bytes, np.generic, Path)):
        yield repr(value).encode()
    elif isinstance(value, (Mapping, Sequence, np.ndarray)):
        for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield repr(name).encode()
            yield from pieces(inner, seen)
    else:
        yield type(value).__qualname__.encode()
        if id(value) not in seen and not callable(value):
            seen.add(id(value))
            yield from pieces(getattr(value, "__dict__", {}), seen)


def of_arguments(value: Any) -> Any:
    """Arguments as plain values; a file that one names with its digest, a folder with its files' names and sizes."""
    if isinstance(value, Mapping):
        return {str(name): of_arguments(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [of_arguments(inner) for inner in value]
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    try:
        if path.is_file():
            return {value: file_sha256(path)}
        if path.is_dir():
            files = sorted((str(one.relative_to(path)), one.stat().st_size) for one in path.rglob("*") if one.is_file())
            return {value: hashlib.sha256(repr(files).encode()).hexdigest()}
    except OSError:  # of a text that is no path
        pass
    return value


def of_code(kind: type) -> str | None:
    """The digest of the file that a class is written in; None where there is none."""
    try:
        return file_sha256(Path(inspect.getfile(kind)))
    except (TypeError, OSError):
        return None


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
