"""Where each image of tar shards lies, and its label: found once by reading all headers, and kept."""

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd_lightning.data.folders.images import SUFFIXES
from kd_lightning.errors import UserError
from kd_lightning.store import Store
from kd_lightning.system.files import write_json
from kd_lightning.system.records import damaged, read_record

LABELS = ("cls", "label", "txt", "json")  # of files that hold a label, the first that a sample has
IN_JSON = ("label", "cls", "class", "class_id", "target")
READING = 1  # raise it where other samples are found, so that shards are read anew
ARRAYS, RECORD = "index.npz", "index.json"


class Sample(NamedTuple):
    """An image in a shard: the sample's key, where its bytes lie, and its label."""

    key: str
    shard: int
    offset: int
    size: int
    label: str | None


class Index(NamedTuple):
    """The samples of shards: keys and labels, bytes (N,), and places, int64 (N, 3), which are shard, offset, size."""

    keys: np.ndarray
    places: np.ndarray
    labels: np.ndarray

    def names(self) -> list[str]:
        """The labels; an empty one is none."""
        return [label.decode() for label in self.labels.tolist()]


def state_of(shard: str) -> str:
    """What changes whenever a shard does. Raises UserError where it is gone."""
    try:
        state = os.stat(shard)
    except OSError as error:
        raise UserError(f"data.root: {shard} cannot be read ({error.strerror or error}); mend it") from None
    return f"{os.path.basename(shard)} {state.st_size} {state.st_mtime_ns}"


def index_of(shards: Sequence[str], cache: Path) -> Index:
    """The samples of shards, found once by any process and kept in the folder `cache`; others wait meanwhile.

    Raises UserError for a shard that cannot be read, and for a sample whose file tells no label.
    """
    decided_by = {"reading": READING, "shards": [state_of(shard) for shard in shards]}
    read = partial(read_all, shards)
    return Store(cache).obtain_or_make(
        "shards", decided_by, read, stored, "the shards are read anew", by_each_rank=True
    )


def stored(home: Path) -> Index | None:
    """Raises `Damaged` where it is not as it was written."""
    record = read_record(home / RECORD, {"images": int}, strict=True)
    if record is None:
        return None
    try:
        with np.load(home / ARRAYS, allow_pickle=False) as arrays:
            found = Index(*(arrays[name] for name in Index._fields))
    except Exception as error:  # a damaged file can raise anything
        raise damaged(home, str(error)) from None
    if len(found.keys) != record["images"]:
        raise damaged(home, "it has other images than it says")
    return found


def read_all(shards: Sequence[str], folder: Path | None) -> Index:
    """Read the headers of all shards, and keep in a folder what was found."""
    keys: list[bytes] = []
    labels: list[bytes] = []
    places: list[tuple[int, int, int]] = []
    for number, shard in enumerate(shards):
        for sample in samples_in(shard, number):
            keys.append(os.fsencode(sample.key))
            labels.append((sample.label or "").encode())
            places.append(sample[1:4])
    found = Index(np.array(keys, dtype=bytes), np.array(places, dtype=np.int64).reshape(-1, 3), np.array(labels, bytes))
    if folder is not None:
        np.savez(folder / ARRAYS, **found._asdict())
        write_json(folder / RECORD, {"place": os.path.dirname(shards[0]), "shards": len(shards), "images": len(keys)})
    return found


def samples_in(shard: str, number: int) -> Iterator[Sample]:
    """The samples with an image, in the order of a shard. Raises UserError where it is no tar file as it has to be."""
    try:
        with tarfile.open(shard, "r:") as tar, open(shard, "rb") as file:
            key: str | None = None
            image: tuple[int, int] | None = None
            labels: dict[str, bytes] = {}
            for member in tar:
                if not member.isfile():
                    continue
                own, extension = key_of(member.name)
                if own != key:
                    if image is not None:
                        yield Sample(str(key), number, *image, label_of(labels, shard, str(key)))
                    key, image, labels = own, None, {}
                if f".{extension}" in SUFFIXES and image is None:
                    image = (member.offset_data, member.size)
                elif extension in LABELS:
                    file.seek(member.offset_data)
                    labels[extension] = file.read(member.size)
            if image is not None:
                yield Sample(str(key), number, *image, label_of(labels, shard, str(key)))
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"data.root: {shard} cannot be read as a tar file ({error}); give plain tar files, whole and not compressed"
        ) from None


def key_of(name: str) -> tuple[str, str]:
    """The key of a file's sample, and its extension, which begins at the first dot of the file's own name."""
    folder, _, own = name.rpartition("/")
    stem, _, extension = own.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


def label_of(labels: dict[str, bytes], shard: str, key: str) -> str | None:
    """What a sample's files say of its label. Raises UserError for one that says nothing."""
    kind = next((kind for kind in LABELS if kind in labels), None)
    if kind is None:
        return None
    try:
        text = labels[kind].decode().strip()
        if kind != "json":
            return text
        values = json.loads(text)
        found = values if not isinstance(values, dict) else next(values[name] for name in IN_JSON if name in values)
        return str(found)
    except (ValueError, StopIteration):
        raise UserError(f"data.root: {shard}: {key}.{kind} tells no label; give a number or a name") from None
