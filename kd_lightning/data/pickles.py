"""Reading pickles of arrays, lists and strings, and of nothing else."""

import pickle
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from kd_lightning.errors import UserError


def encode_latin1(text: str, encoding: str) -> bytes:
    """How pickles below protocol 3 spell bytes, without the other codecs. Raises UnpicklingError for another codec."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"codec {encoding}")
    return text.encode("latin1")


# numpy's own functions, by whatever names its versions have pickled them.
RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
FROM_BUFFER: Any = np.empty(0).__reduce_ex__(5)[0]
SCALAR: Any = np.int64(0).__reduce__()[0]
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): encode_latin1,
    ("builtins", "bytes"): bytes,
    ("__builtin__", "bytes"): bytes,
    ("builtins", "bytearray"): bytearray,
}
for core in ("numpy.core", "numpy._core"):
    ALLOWED[f"{core}.multiarray", "_reconstruct"] = RECONSTRUCT
    ALLOWED[f"{core}.multiarray", "scalar"] = SCALAR
    ALLOWED[f"{core}.numeric", "_frombuffer"] = FROM_BUFFER


class Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not data."""


class ArrayUnpickler(pickle.Unpickler):
    """Knows nothing but ALLOWED; raises Refused on any other name before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        """What arrays are made of; raises Refused for any other name."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None


def load_arrays(path: Path, key: str) -> dict[str, Any]:
    """The dict in a pickle, with str keys whichever Python wrote it; key is what UserError names.

    Raises UserError where the file is no such dict, is damaged, or would run code (which it does not).
    """
    try:
        with path.open("rb") as file:
            return read_arrays(file, path.name, key)
    except OSError as error:
        raise UserError(f"{key}: {path.name} cannot be read ({error.strerror}); put the original there") from None


def read_arrays(file: IO[bytes], name: str, key: str) -> dict[str, Any]:
    """The same of an open file of this name. Raises UserError where it is damaged, holds none, or would run code."""
    try:
        record = ArrayUnpickler(file, encoding="latin1").load()
    except Refused as error:
        raise UserError(f"{key}: {name} would run {error}, refused; take the original file") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{key}: {name} is damaged ({type(error).__name__}); put the original there") from None
    if not isinstance(record, dict):
        raise UserError(f"{key}: {name} holds no dict of arrays; put the original there")
    return {as_text(entry): value for entry, value in record.items()}


def load_archive(path: Path, wanted: Collection[str], key: str) -> dict[str, dict[str, Any]]:
    """What `load_arrays` gives of the files of these names in a tar archive, read in one go; nothing is unpacked.

    Raises UserError where it is damaged or lacks one of them.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in wanted and (file := archive.extractfile(member)) is not None:
                    found[name] = read_arrays(file, f"{path.name}: {name}", key)
    except UserError:
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        reason = f"{path.name} is damaged ({type(error).__name__})"
        raise UserError(f"{key}: {reason}; remove it for a new download, or put the original there") from None
    if missing := sorted(set(wanted) - set(found)):
        raise UserError(f"{key}: {path.name} lacks {', '.join(missing)}; put the original there")
    return found


def as_text(value: object) -> str:
    """Python 2's strings come as bytes out of some copies."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def as_integers(values: object) -> np.ndarray | None:
    """A list or array of whole numbers as int64 (N,); None for anything else"""
    try:
        array = np.asarray(values)
    except ValueError:  # of uneven lengths
        return None
    return array.astype(np.int64) if array.ndim == 1 and array.dtype.kind in "iu" else None
