"""What a cache's folder holds, each in a folder of its own: trained networks, answers and test results of teachers,
what these say of training samples, decoded images, which images cannot be, and where they lie in shards.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_lightning.errors import UserError
from kd_lightning.runs.files import EVALUATION
from kd_lightning.system.checksums import safetensors_fault
from kd_lightning.system.locks import Busy, take
from kd_lightning.system.records import Damaged, Each, read_record

NETWORK = {"model": (str, Each(object)), "data": {"name": str}}
UNFINISHED = ".unfinished"  # behind the name of a folder that is being made
KINDS: dict[str, tuple[str, Any, str]] = {  # the file that describes each, its shape, and what else there is
    "networks": ("record.json", {"cache_key": {**NETWORK, "seed": int}}, "weights.safetensors"),
    "anchors": ("anchors.json", {"cache_key": {**NETWORK, "seed": int}, "anchors": [{"epoch": int}]}, "anchors.json"),
    "answers": (
        "cache.json",
        {"of": str, "teacher": {"model": str}, "data": {"name": str, "views": int}},
        "answers.bin",
    ),
    "scores": ("record.json", {"cache_key": {"of": {"_target_": str}, "data": {"name": str}}}, "values.npz"),
    "measurements": ("record.json", {"cache_key": NETWORK}, EVALUATION),
    "conversions": ("record.json", {"cache_key": NETWORK, "entry": {"conversion": str}}, "record.json"),
    "shards": ("index.json", {"place": str, "shards": int, "images": int}, "index.npz"),
    "readable": ("readable.json", {"place": str, "images": int, "faults": Each(str)}, "readable.json"),
    "images": ("images.json", {"images": int, "root": str, "image_size": int}, "pixels.npy"),
}


def cache_dir() -> Path:
    """Where runs keep things for one another, unless `paths.cache_dir` says otherwise."""
    return Path(os.environ.get("KD_LIGHTNING_CACHE", "~/.cache/kd_lightning")).expanduser()


@dataclass(frozen=True)
class Entry:
    """A folder of the cache; `kind` is a key of KINDS."""

    path: Path
    kind: str

    @property
    def name(self) -> str:
        return self.path.name

    def bytes_on_disk(self) -> int:
        return sum(file.stat().st_blocks * 512 for file in self.path.rglob("*") if file.is_file())

    def last_written(self) -> float:
        """Seconds since 1970."""
        return max((file.lstat().st_mtime for file in self.path.rglob("*")), default=self.path.stat().st_mtime)

    def description(self) -> str:
        """The network and the data, and of answers what is kept of them."""
        name, shape, holds = KINDS[self.kind]
        try:
            stored = read_record(self.path / name, shape)
        except Damaged:
            return f"{name} is damaged; kd-cache rm {self.name}"
        if stored is None:
            is_gone = "." not in self.name and (self.path / holds).exists()
            return f"{name} is not there; kd-cache rm {self.name}" if is_gone else "unfinished"
        if self.kind == "networks" and safetensors_fault(self.path / holds, whole=False) is not None:
            return f"{holds} is damaged; kd-cache rm {self.name}"
        if not (self.path / holds).is_file():
            return f"{holds} is not there; kd-cache rm {self.name}"
        return self._described(stored)

    def _described(self, stored: dict[str, Any]) -> str:
        if self.kind == "images":
            return f"{stored['images']} images of {stored['root']}, {stored['image_size']} pixels"
        if self.kind == "shards":
            return f"where {stored['images']} images lie in {stored['shards']} shards of {stored['place']}"
        if self.kind == "readable":
            return f"{len(stored['faults'])} of {stored['images']} images of {stored['place']} cannot be read"
        if self.kind == "answers":
            data, teacher = stored["data"], stored["teacher"]
            return f"{stored['of']} of {teacher['model']} on {data['name']}, {data['views']} views"
        key = stored["cache_key"]
        if self.kind == "scores":
            return f"{key['of']['_target_'].rpartition('.')[2]} of the training samples of {key['data']['name']}"
        if self.kind == "conversions":
            return f"{stored['entry']['conversion']} of {key['model']} trained on {key['data']['name']}"
        if self.kind == "anchors":
            return f"{len(stored['anchors'])} anchors of {key['model']} trained on {key['data']['name']}"
        if self.kind == "measurements":
            return f"test results of {key['model']} on {key['data']['name']}"
        return f"{key['model']} trained on {key['data']['name']}, seed {key['seed']}"


def entries(cache: Path) -> list[Entry]:
    """All folders of a cache, by kind and name."""
    found = ((kind, path) for kind in KINDS for path in sorted((cache / kind).glob("*")) if path.is_dir())
    return [Entry(path, kind) for kind, path in found]


def named(cache: Path, name: str) -> Entry:
    """The entry whose name begins with `name`. Raises UserError unless there is exactly one."""
    found = [entry for entry in entries(cache) if entry.name.startswith(name)]
    if len(found) != 1:
        what = "nothing" if not found else f"{len(found)} entries"
        raise UserError(f"{name}: {what} in {cache} has a name that begins so; kd-cache ls shows the names")
    return found[0]


def lock_beside(folder: Path) -> Path:
    """The file that is locked while a folder of the cache is made, also under its unfinished name."""
    return folder.with_name(f"{folder.name.partition('.')[0]}.lock")


def remove(entry: Entry) -> None:
    """Delete an entry. Raises UserError where a run is making it at this moment, or nothing can be deleted."""
    beside = lock_beside(entry.path)
    try:
        lock = take(beside)
        try:
            shutil.rmtree(entry.path)
        finally:
            lock.release()
    except Busy:
        raise UserError(f"{entry.name}: a run is making it; end that first") from None
    except OSError as error:
        raise UserError(
            f"{entry.path}: cannot be removed ({error.strerror or error}); change its permissions"
        ) from None
    beside.unlink(missing_ok=True)
