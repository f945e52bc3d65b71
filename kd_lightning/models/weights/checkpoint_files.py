"""Reading a checkpoint file of any known format, without running anything that it holds."""

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.system.checksums import safetensors_fault
from kd_lightning.system.records import archive_is_damaged

Value = TypeVar("Value")

# What the wrappers of torch and Lightning put into names: data parallel, compiled, sharded, checkpointed, strategies.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
MAX_SAFETENSORS_HEADER = 100_000_000  # the format's own limit
NUMPY_SCALARS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


@dataclass(frozen=True)
class Group:
    """Tensors that stand together in a file, by their names there, on the CPU.

    `address` holds the keys that lead to them, joined by dots, empty for the outermost; `metadata` the plain values
    beside these keys and tensors.
    """

    address: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_file(path: Path, key: str) -> list[Group]:
    """All tensors of a file, at least one group of them. `key` is how an error names the setting.

    Raises UserError where it cannot be read or holds none.
    """
    path = path.expanduser()
    if path.is_dir():
        raise UserError(f"{key}={path} is a folder; give the file of weights inside it")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise UserError(f"{key}={path}: no such file; give the path of a file of weights") from None
    except OSError as error:
        raise UserError(f"{key}={path} cannot be read ({error.strerror}); give a readable file of weights") from error
    if not start:
        raise UserError(f"{key}={path} is empty; fetch or save it again")
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_SAFETENSORS_HEADER:
        return [_read_safetensors(path, key)]
    checkpoint = _read_torch(path, key)
    groups = [group for group in _groups(checkpoint, "", {}) if group.tensors]
    if not groups:
        held = ", ".join(str(name) for name in list(checkpoint)[:3]) if isinstance(checkpoint, Mapping) else ""
        raise UserError(f"{key}={path} holds no weights ({held or 'nothing'}); give a file with a model's state dict")
    return groups


def read_metadata(path: Path, key: str) -> dict[str, str]:
    """The plain values beside a file's weights, of the outermost group of tensors. Raises UserError as `read_file`."""
    path = path.expanduser()
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):  # another format, or a file that is told of as such
        return read_file(path, key)[0].metadata


def plain_names(entries: Mapping[str, Value]) -> dict[str, Value]:
    """The entries under their names without wrappers: "module.layer1._orig_mod.0.weight" → "layer1.0.weight".

    As they stand where two names would become one.
    """
    plain = {".".join(part for part in name.split(".") if part not in WRAPPERS): entries[name] for name in entries}
    return plain if len(plain) == len(entries) else dict(entries)


def _read_safetensors(path: Path, key: str) -> Group:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
        if safetensors_fault(path) is not None:
            raise _unreadable(path, key, "safetensors file")
        return Group("", tensors, metadata)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, key, "safetensors file") from error


def _read_torch(path: Path, key: str) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless_globals()):
            warnings.simplefilter("ignore")  # torch's, of odd pickles; the error below says it in one line
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as there are places to damage
        refused = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise UserError(
                f"{key}={path} was refused, nothing in it was run: it holds more than tensors ({refused[1]}); "
                "save the model's state_dict() alone, or as safetensors"
            ) from error
        raise _unreadable(path, key, "checkpoint") from error
    if zipfile.is_zipfile(path) and archive_is_damaged(path):
        raise _unreadable(path, key, "checkpoint")
    return checkpoint


def _groups(value: Any, address: str, beside: Mapping[str, str]) -> Iterator[Group]:
    """The tensors of nested mappings, the outermost first."""
    if not isinstance(value, Mapping):
        return
    plain = {str(name): str(inner) for name, inner in value.items() if isinstance(inner, str | int | float)}
    metadata = {**beside, **plain}
    yield Group(address, {str(name): inner for name, inner in value.items() if isinstance(inner, Tensor)}, metadata)
    for name, inner in value.items():
        yield from _groups(inner, f"{address}.{name}".lstrip("."), metadata)


def _harmless_globals() -> list[Any]:
    """What trainings keep beside the weights: an accuracy as a numpy number, RepDistiller's options in `*_last.pth`."""
    scalar = np.float64(0).__reduce__()[0]  # one function, under numpy 1's name and numpy 2's
    kinds = [type(np.dtype(kind)) for kind in NUMPY_SCALARS]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, *kinds, argparse.Namespace]


def _unreadable(path: Path, key: str, kind: str) -> UserError:
    return UserError(
        f"{key}={path} cannot be read as a {kind}: truncated, damaged or of another kind; fetch or save it again"
    )
