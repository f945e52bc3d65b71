"""Checksums of files of weights: one flipped bit gives other results without a word."""

import hashlib
import json
import zipfile
from pathlib import Path

SHA256 = "sha256"  # of all tensors, among the metadata of a safetensors file that this package wrote


def with_checksum(file: bytes) -> bytes:
    """A safetensors file with the checksum of its tensors, its header in one order: equal weights are equal files."""
    length = int.from_bytes(file[:8], "little")
    header, tensors = json.loads(file[8 : 8 + length]), file[8 + length :]
    metadata = {**header.pop("__metadata__", {}), SHA256: hashlib.sha256(tensors).hexdigest()}
    text = json.dumps({"__metadata__": dict(sorted(metadata.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors


def safetensors_are_damaged(path: Path, metadata: dict[str, str]) -> bool:
    """Whether the tensors are not those whose checksum the file tells; False where it tells none."""
    if SHA256 not in metadata:
        return False
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), 1)
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest() != metadata[SHA256]


def archive_is_damaged(path: Path) -> bool:
    """Whether a file of torch's, an archive with a checksum of each part, is not what was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return True
