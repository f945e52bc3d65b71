"""WebDataset's tar shards, read at random by where each file lies in them."""

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from kd_lightning.data.folders.files import EncodedImages
from kd_lightning.data.folders.images import Encoded
from kd_lightning.data.layouts.index import Index, index_of, state_of
from kd_lightning.data.layouts.parted import SHOWN, PartedDataModule
from kd_lightning.data.values import check_text
from kd_lightning.errors import UserError

BY_NAME = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}  # how a shard's name begins
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


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
        listing = hashlib.sha256("\n".join(map(state_of, self.shards)).encode())
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
    def samples(self) -> dict[str, Index]:
        """All samples by split. Raises UserError for a shard that cannot be read, and where there is no image."""
        found = {}
        for split, shards in self.shards.items():
            found[split] = index_of(shards, self.cache)
            if not len(found[split].keys):
                raise UserError(f"{self.place}: no image in {', '.join(shards[:SHOWN])}; give shards with KEY.jpg")
        return found

    def found_classes(self) -> list[str]:
        self.check_place()
        return self.classes_of(self.samples["train"].names())

    def listed(self, split: str) -> ShardImages:
        index = self.samples[split]
        targets = self.of_labels(index.names()).to(torch.int64)
        sizes = self.image_size, self.resize_size
        return ShardImages(self.shards[split], index.keys, index.places, targets, *sizes, self.crops)


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
