"""Weights in files: read from the formats in use, written as safetensors.

Names are compared without the wrappers that DistributedDataParallel ("module.") and torch.compile ("_orig_mod.") put
in, wherever they stand. A checkpoint of a whole training (Lightning's, mdistiller's) yields its student.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.checkpoint_files import plain_names, read_file

OWNERS = ("student.", "model.", "net.")
LISTED = 3


def load_weights(model: nn.Module, path: str | Path, key: str = "teacher.weights") -> dict[str, str]:
    """Load the file's weights into `model`, strictly and all or nothing; returns the file's metadata.

    Raises a UserError, with the model untouched, unless every entry of the model's state dict is in the file with its
    shape and nothing is left over.
    """
    stored, metadata = read_file(Path(path), key)
    own = model.state_dict()
    names = plain_names({name: name for name in own})
    entries = _choose(stored, set(names))
    missing = sorted(names.keys() - entries.keys())
    unexpected = sorted(entries.keys() - names.keys())
    shapes = [
        f"{name} {tuple(entries[name].shape)} for {tuple(own[names[name]].shape)}"
        for name in names
        if name in entries and entries[name].shape != own[names[name]].shape
    ]
    problems = [
        f"{len(found)} {kind} ({', '.join(found[:LISTED])}{', …' if len(found) > LISTED else ''})"
        for kind, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise UserError(
            f"{key}={path}: these are not the weights of this {type(model).__name__}: entries {'; '.join(problems)}; "
            "give the model and the number of classes that the file was trained with"
        )
    model.load_state_dict({names[name]: value for name, value in entries.items()})
    return metadata


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, object] | None = None) -> None:
    """Write the model's state dict as safetensors, in one rename: a half-written file never bears the name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # Copies, since safetensors refuses entries that share memory, as tied weights do.
    entries = {name: value.to("cpu", copy=True).contiguous() for name, value in _plain_state(model).items()}
    try:
        # Not safetensors' own save_file, which makes files that only their owner can read.
        with unfinished.open("wb") as file:
            file.write(save(entries, {name: str(value) for name, value in (metadata or {}).items()}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def state_sha256(model: nn.Module) -> str:
    """Digest of names, types, shapes and values of the state dict: the same on any device and from any file format."""
    digest = hashlib.sha256()
    for name, value in sorted(_plain_state(model).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain_state(model: nn.Module) -> dict[str, Tensor]:
    return plain_names({name: value.detach() for name, value in model.state_dict().items()})


def _choose(stored: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """The reading of the stored entries that fits `names` best; the first of equals."""
    return max(_readings(stored), key=lambda entries: len(names & entries.keys()) - len(entries.keys() - names))


def _readings(entries: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The entries as they stand, then those under "student.", under "student.net.", and so on."""
    yield entries
    for owner in OWNERS:
        if inner := _under(owner, entries):
            yield from _readings(inner)


def _under(owner: str, entries: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(owner): value for name, value in entries.items() if name.startswith(owner)}
