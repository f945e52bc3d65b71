"""WebDataset's tar shards, read at random by where each file lies in them."""

import glob
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from kd_lightning.data.folders.files import EncodedImages
from kd_lightning.data.folders.images import SUFFIXES, Encoded
from kd_lightning.data.layouts.parted import SHOWN, PartedDataModule
from kd_lightning.data.values import check_text
from kd_lightning.errors import UserError

LABELS = ("cls", "label", "txt", "json")  # of files that hold a label, the first that a sample has
IN_JSON = ("label", "cls", "class", "class_id", "target")
BY_NAME = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}  # how a shard's name begins
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Sample(NamedTuple):
    """An image in a shard: the sample's key, where its bytes lie, and its label."""

    key: str
    shard: int
    offset: int
    size: int
    label: Any


@dataclass
class ShardImages(EncodedImages):
    """Images in tar files, each read by its place in one."""

    shards: list[str]
    keys: np.ndarray  # bytes (N,)
    places: np.ndarray  # int64 (N, 3): shard, offset, size
    targets: Tensor
    image_size: int
    resize_size: int
    crops: bool = True

    @property
    def place(self) -> str:
        return self.shards[0] if len(self.shards) == 1 else f"{self.shards[0]} and {len(self.shards) - 1} more shards"

    def file(self, row: int) -> Encoded:
        shard, offset, size = self.places[row].tolist()
        name = f"{self.shards[shard]}: {os.fsdecode(self.keys[row])}"
        try:
            with open(self.shards[shard], "rb") as file:
                file.seek(offset)
                return Encoded(file.read(size), name)
        except OSError as error:
            raise UserError(f"data.root: {name} cannot be read ({error.strerror or error}); mend it") from None

    def only(self, rows: Tensor) -> Self:
        picked = rows.numpy()
        return replace(self, keys=self.keys[picked], places=self.places[picked], targets=self.targets[rows])

    def digest(self, *, empty: bool = False) -> str:
        """SHA-256 of the shards' names, sizes and times, and of what is used of them. Raises UserError for one gone."""
        listing = hashlib.sha256()
        for shard in self.shards:
            try:
                state = os.stat(shard)
            except OSError as error:
                raise UserError(f"data.root: {shard} cannot be read ({error.strerror or error}); mend it") from None
            listing.update(f"{os.path.basename(shard)} {state.st_size} {state.st_mtime_ns}\n".encode())
        listing.update(self.places.tobytes())
        return listing.hexdigest()


class WebDatasetDataModule(PartedDataModule):
    """Tar shards as WebDataset has them: `KEY.jpg` and `KEY.cls`, or `.txt` or `.json` with the label, side by side.

    Each sample has a place of its own, so that views, kept answers, curricula and resumption are those of a folder.

    Args:
        root: the folder of the shards.
        train_shards, val_shards, test_shards: which of them, as a glob or with a range, `train-{000..011}.tar`; None
            takes those whose names, or whose folders' names, begin with train, val and test, and all for train where
            none does.

    Raises UserError for shards that are compressed, and for a sample whose file tells no label.

    Examples:
        >>> import io, tarfile, tempfile
        >>> from PIL import Image
        >>> from kd_lightning.data import WebDatasetDataModule
        >>> photo = io.BytesIO()
        >>> Image.new("RGB", (40, 40)).save(photo, "PNG")
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with tarfile.open(f"{root}/all-000.tar", "w") as tar:
        ...         for i in range(8):
        ...             for name, data in ((f"{i}.png", photo.getvalue()), (f"{i}.cls", str(i % 2).encode())):
        ...                 file = tarfile.TarInfo(name)
        ...                 file.size = len(data)
        ...                 tar.addfile(file, io.BytesIO(data))
        ...     data = WebDatasetDataModule(root=root, image_size=32, resize_size=36, test_fraction=0.5, val_fraction=0)
        ...     data.setup("fit")
        ...     data.class_names, len(data.train_set), len(data.test_set)
        (['0', '1'], 4, 4)
    """

    def __init__(
        self,
        *,
        name: str = "webdataset",
        train_shards: str | None = None,
        val_shards: str | None = None,
        test_shards: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(name=name, **common)
        self.patterns = {"train": train_shards, "val": val_shards, "test": test_shards}

    @property
    def place(self) -> str:
        return f"data.root={self.root}"

    def check_place(self) -> None:
        for split, pattern in self.patterns.items():
            check_text(f"data.{split}_shards", pattern, "a glob or a range of names, such as train-{000..011}.tar")
        if self.root is None:
            raise UserError("data.root=null: give the folder that holds the shards, data.root=/path")
        if not os.path.isdir(self.root):
            raise UserError(f"{self.place}: no such folder; give the one that holds the shards")
        if "train" not in self.shards:
            raise UserError(f"{self.place}: no *.tar of train in it; give data.train_shards, such as 'part-*.tar'")

    @cached_property
    def shards(self) -> dict[str, list[str]]:
        """The shards of each split that has some. Raises UserError for a pattern that fits none."""
        assert self.root is not None
        found = {}
        for split, pattern in self.patterns.items():
            if pattern is not None:
                found[split] = [shard for one in expanded(pattern) for shard in sorted(glob.glob(str(self.root / one)))]
                if not found[split]:
                    raise UserError(f"data.{split}_shards={pattern}: no such file in {self.root}; mend the pattern")
        if found:
            return found
        tars = [str(path) for path in sorted(self.root.rglob("*.tar"))]
        of = {split: [tar for tar in tars if self.begins(tar, names)] for split, names in BY_NAME.items()}
        named = {split: some for split, some in of.items() if some}
        return named or ({"train": tars} if tars else {})

    def begins(self, shard: str, names: Sequence[str]) -> bool:
        parts = Path(os.path.relpath(shard, self.root)).parts
        return any(part.lower().startswith(tuple(names)) for part in parts)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.shards)

    @cached_property
    def samples(self) -> dict[str, list[Sample]]:
        """All samples by split. Raises UserError for a shard that cannot be read, and where there is no image."""
        found = {}
        for split, shards in self.shards.items():
            found[split] = [sample for number, shard in enumerate(shards) for sample in samples_in(shard, number)]
            if not found[split]:
                raise UserError(f"{self.place}: no image in {', '.join(shards[:SHOWN])}; give shards with KEY.jpg")
        return found

    def found_classes(self) -> list[str]:
        self.check_place()
        return self.classes_of([sample.label for sample in self.samples["train"]])

    def listed(self, split: str) -> ShardImages:
        samples = self.samples[split]
        keys = np.array([os.fsencode(sample.key) for sample in samples])
        places = np.array([sample[1:4] for sample in samples], dtype=np.int64)
        targets = self.of_labels([sample.label for sample in samples]).to(torch.int64)
        sizes = self.image_size, self.resize_size
        return ShardImages(self.shards[split], keys, places, targets, *sizes, self.crops)


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


def expanded(pattern: str) -> list[str]:
    """The patterns that one with ranges stands for: `a-{08..10}.tar` for three.

    >>> from kd_lightning.data.layouts.shards import expanded
    >>> expanded("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    ranges = [(first, last) for first, last in RANGE.findall(pattern)]
    numbers = [[str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)] for first, last in ranges]
    texts = RANGE.split(pattern)[::3]
    chosen = (zip(texts, [*one, ""], strict=True) for one in product(*numbers))
    return ["".join(text + number for text, number in parts) for parts in chosen]
