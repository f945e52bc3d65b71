"""Hugging Face's data sets from disk, as `save_to_disk` leaves them."""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from typing_extensions import Self

from kd_lightning.data.folders.files import EncodedImages
from kd_lightning.data.folders.images import Encoded, File
from kd_lightning.data.layouts.parted import PartedDataModule
from kd_lightning.data.layouts.tables import SPLITS
from kd_lightning.data.values import check_text
from kd_lightning.errors import UserError

LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "category", "target")
FILES = ("dataset_dict.json", "dataset_info.json")  # of which `save_to_disk` leaves one


@dataclass
class ArrowImages(EncodedImages):
    """Images in a column of a data set, as bytes or as paths."""

    dataset: Any  # datasets.Dataset, with the images' column alone
    column: str
    rows: np.ndarray  # int64 (N,)
    targets: Tensor
    image_size: int
    resize_size: int
    where: str
    crops: bool = True

    @property
    def place(self) -> str:
        return self.where

    def file(self, row: int) -> File:
        number = int(self.rows[row])
        value = self.dataset[number][self.column]
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
        if isinstance(data, bytes):
            return Encoded(data, f"{self.place}: row {number}")
        if isinstance(path, str):
            return Path(path)
        raise UserError(f"data.root: row {number} of {self.place} holds no image; mend or remove it")

    def only(self, rows: Tensor) -> Self:
        return replace(self, rows=self.rows[rows.numpy()], targets=self.targets[rows])

    def digest(self, *, empty: bool = False) -> str:
        """SHA-256 of what the data set calls itself, of its files' names, sizes and times, and of the rows used."""
        found = hashlib.sha256(str(getattr(self.dataset, "_fingerprint", "")).encode())
        for one in self.dataset.cache_files:
            state = os.stat(one["filename"])
            found.update(f"{os.path.basename(one['filename'])} {state.st_size} {state.st_mtime_ns}\n".encode())
        found.update(self.rows.tobytes())
        return found.hexdigest()


class HFDatasetDataModule(PartedDataModule):
    """A data set of images that Hugging Face's `datasets` has saved to disk, with its splits or without.

    Args:
        root: the folder that `save_to_disk` wrote.
        image_column, label_column: found by their kind where None: the column of images, and that of classes, or one
            that is called `label` or the like.

    Raises UserError where `datasets` is not installed, and for columns that are not there.

    Examples:
        >>> from kd_lightning.data import HFDatasetDataModule
        >>> data = HFDatasetDataModule(root="beans", image_size=64, resize_size=72)  # from save_to_disk("beans")
        >>> data.name, data.input_shape
        ('hf_dataset', (3, 64, 64))
    """

    def __init__(
        self,
        *,
        name: str = "hf_dataset",
        image_column: str | None = None,
        label_column: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(name=name, **common)
        self.given = {"image": image_column, "label": label_column}

    def check_place(self) -> None:
        for kind, given in self.given.items():
            check_text(f"data.{kind}_column", given, "the name of a column")
        if self.root is None:
            raise UserError("data.root=null: give the folder that save_to_disk wrote, data.root=/path")
        if not any(os.path.isfile(self.root / name) for name in FILES):
            raise UserError(f"{self.place}: no {' or '.join(FILES)} in it; give a folder that save_to_disk wrote")
        if "train" not in self.datasets:
            raise UserError(f"{self.place}: has no split train, but {', '.join(self.datasets)}; name one so")
        self.column("image")
        self.column("label")

    @cached_property
    def datasets(self) -> dict[str, Any]:
        """The data sets by split; a lone one is train. Raises UserError where they cannot be read."""
        try:
            from datasets import DatasetDict, load_from_disk  # an extra of this package
        except ImportError:
            raise UserError(f'{self.place}: needs datasets; pip install "kd-lightning[data]"') from None
        try:
            found = load_from_disk(str(self.root))
        except Exception as error:  # a damaged file can raise anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{self.place}: cannot be read ({reason}); save it anew with save_to_disk") from None
        if not isinstance(found, DatasetDict):
            return {"train": found}
        return {SPLITS.get(str(name).lower(), str(name)): one for name, one in found.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in ("train", "val", "test") if split in self.datasets)

    def column(self, kind: str) -> str:
        """The name of a column. Raises UserError where there is none."""
        features, given = self.datasets["train"].features, self.given[kind]
        if given is not None:
            if given in features:
                return given
            raise UserError(f"data.{kind}_column={given}: no column of {self.root}, which has {', '.join(features)}")
        wanted = "Image" if kind == "image" else "ClassLabel"
        of_kind = [name for name, feature in features.items() if type(feature).__name__ == wanted]
        named = [] if kind == "image" else [name for name in LABEL_COLUMNS if name in features]
        found = of_kind if len(of_kind) == 1 else named
        if not found:
            raise UserError(
                f"data.{kind}_column=null: {self.root} has {len(of_kind)} columns of {wanted} among "
                f"{', '.join(features)}; name the one"
            )
        return str(found[0])

    def labels(self, split: str) -> list[Any]:
        """The label of each row, by name where the data set has names."""
        dataset, column = self.datasets[split], self.column("label")
        values = dataset.select_columns([column]).with_format("arrow")[:][column].to_pylist()
        names = getattr(dataset.features[column], "names", None)
        if names is None:
            return list(values)
        return [None if value is None or value < 0 else names[value] for value in values]

    def found_classes(self) -> list[str]:
        self.check_place()
        names = getattr(self.datasets["train"].features[self.column("label")], "names", None)
        return self.classes_of(self.labels("train")) if names is None else [str(name) for name in names]

    def listed(self, split: str) -> ArrowImages:
        dataset, column = self.datasets[split], self.column("image")
        if column not in dataset.features:
            raise UserError(f"data.image_column={column}: no column of the split {split}; give all splits the same")
        images = dataset.select_columns([column]).with_format(None)
        if type(images.features[column]).__name__ == "Image":
            images = images.cast_column(column, type(images.features[column])(decode=False))
        rows, where = np.arange(len(images)), f"{self.root} ({split})"
        sizes = self.image_size, self.resize_size
        return ArrowImages(images, column, rows, self.of_labels(self.labels(split)).long(), *sizes, where, self.crops)
