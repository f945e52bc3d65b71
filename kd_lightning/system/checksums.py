"""Checksums of files of weights: one flipped bit gives other results without a word."""

import hashlib
import json
from pathlib import Path
from typing import Any

SHA256 = "sha256"  # of all tensors and of the header, among whose metadata it stands in a file that this package wrote


def with_checksum(file: bytes) -> bytes:
    """A safetensors file with a checksum, its header in one order: equal weights are equal files."""
    length = int.from_bytes(file[:8], "little")
    header, tensors = json.loads(file[8 : 8 + length]), file[8 + length :]
    digest = hashlib.sha256(_as_text(header))
    digest.update(tensors)
    header["__metadata__"] = {**header.get("__metadata__", {}), SHA256: digest.hexdigest()}
    text = _as_text(header)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors


def safetensors_fault(path: Path, whole: bool = True) -> str | None:
    """Why a safetensors file is not as it was written; None where it is, as far as it tells a checksum.

    Unless `whole`, the tensors are not read, only how many bytes they have.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, path.stat().st_size)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            if path.stat().st_size != 8 + length + max(ends, default=0):
                return "it has another size"
            told = header.get("__metadata__", {}).pop(SHA256, None)
            if told is None or not whole:
                return None
            digest = hashlib.sha256(_as_text(header))
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        return str(error.strerror or error)
    except Exception:  # a damaged header can raise anything
        return "its header cannot be read"
    return None if digest.hexdigest() == told else "its checksum is another"


def _as_text(header: dict[str, Any]) -> bytes:
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    metadata = dict(sorted(header.get("__metadata__", {}).items()))
    return json.dumps({"__metadata__": metadata, **tensors}, separators=(",", ":")).encode()
