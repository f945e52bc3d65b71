"""Image folders: ImageNet's layout, or any <split>/<class>/<image file>."""

import os
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning.data.folders.files import FileImages
from kd_lightning.data.folders.image_files import ImageFilesDataModule
from kd_lightning.data.folders.images import SUFFIXES
from kd_lightning.data.folders.listing import Found, class_folders, entries, image_files, is_empty, is_folder
from kd_lightning.data.folders.overlaps import numbers, of_two_classes, of_two_splits
from kd_lightning.errors import UserError
from kd_lightning.terminal import warn

SPLITS = ("train", "val", "test")
UNREADABLE = ("Cc", "Cs")  # control characters, and the bytes of another encoding


class ImageFolderDataModule(ImageFilesDataModule):
    """`root`/{train,val,test}/<class>/<image>: classes are the folders, by name.

    train/ is needed, and val/ or test/. Where both stand, val/ validates and val_fraction has no effect. Where one
    does, it is the test set, as ImageNet's val/ is in published tables, and val_fraction splits validation off train/.
    A split without class folders, such as ImageNet's unlabelled test/, counts as none.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from kd_lightning.data import ImageFolderDataModule
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/dog/1.png"):
        ...         (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("RGB", (40, 40)).save(Path(root) / name)
        ...     data = ImageFolderDataModule(root=root, image_size=32, resize_size=36, batch_size=2, val_fraction=0)
        ...     data.setup("fit")
        ...     data.class_names, next(iter(data.train_dataloader()))["input"].shape
        (['cat', 'dog'], torch.Size([2, 3, 32, 32]))
    """

    def __init__(self, *, name: str = "folder", **common: Any) -> None:
        super().__init__(name=name, **common)
        self.trained_on = torch.empty(0, dtype=torch.int64)

    def found_classes(self) -> list[str]:
        self.check_place()
        return class_folders(self.split_folder("train"))

    def split_folder(self, split: str) -> Path:
        assert self.root is not None
        return self.root / split

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if class_folders(self.split_folder(split)))

    def check_place(self) -> None:
        """Raise UserError unless the root and its splits stand."""
        if self.root is None:
            what = "ImageNet's folder" if self.name == "imagenet" else "the folder that holds train/ and val/"
            raise UserError(f"data.root=null: give {what}, data.root=/path")
        if not os.path.isdir(self.root):
            raise UserError(f"data.root={self.root}: no such folder; give the one that holds train/ and val/")
        for split in ("train", self.test_split or "val"):
            folder = self.split_folder(split)
            if not os.path.isdir(folder):
                raise UserError(
                    f"data.root={self.root}: no {split}/ in it; give the folder that holds train/ and val/"
                    f"{self.place_instead()}"
                )
            if not class_folders(folder):
                raise UserError(
                    f"data.root={self.root}: {split}/ holds no class folders; sort its images into {split}/<class>/"
                )

    def place_instead(self) -> str:
        """Where train/ is, a level above or below the root, as the end of a message."""
        assert self.root is not None
        inner = [Path(entry.path) for entry in entries(self.root) if is_folder(entry)]
        places = [place for place in (self.root.resolve().parent, *inner) if class_folders(place / "train")]
        return f", such as data.root={places[0]}" if places and not class_folders(self.split_folder("train")) else ""

    def check_classes(self) -> None:
        """Raise UserError where splits differ in their classes, or a class folder is empty or has no proper name."""
        splits = SPLITS if self.has_validation else ("train", self.test_split or "val")
        found = class_folders(self.split_folder("train"))
        for split in splits:
            names = set(class_folders(self.split_folder(split)))
            for name in sorted(names ^ {*found}):
                there, absent = (split, "train") if name in names else ("train", split)
                raise UserError(
                    f"data.root={self.root}: class {name} stands in {there}/ but not in {absent}/; "
                    "give all splits the same class folders"
                )
        for name in found:
            if any(unicodedata.category(sign) in UNREADABLE for sign in name):
                raise UserError(
                    f"data.root={self.root}: class folder {name!r} has a name that cannot be shown; rename it in UTF-8"
                )
        for split in splits:
            for name in found:
                if is_empty(self.split_folder(split) / name):
                    raise UserError(f"data.root={self.root}: class folder {split}/{name} is empty; fill or remove it")

    def listed(self, split: str) -> FileImages:
        """The files of a split, class by class. Raises UserError where a class has no image; warns of overlaps."""
        folder, names, targets = self.split_folder(split), [], []
        found: list[Found] = []
        present = {*class_folders(folder)}  # of a given order perhaps not all
        for label, class_name in enumerate(self.class_names):
            if class_name not in present:
                continue
            files = image_files(folder / class_name, lambda: self.class_places)
            if not files:
                raise UserError(
                    f"data.root={self.root}: class folder {split}/{class_name} holds no image file "
                    f"({' '.join(sorted(SUFFIXES))}); fill or remove it"
                )
            found += [Found(os.path.join(class_name, name), file) for name, file in files]
            targets += [label] * len(files)
        names = [os.fsencode(name) for name, _ in found]
        labels = torch.tensor(targets)
        self.warn_of_overlaps(split, found, labels)
        return FileImages(folder, np.array(names), labels, self.image_size, self.resize_size, self.crops)

    @cached_property
    def class_places(self) -> list[str]:
        """The real paths of all class folders of all splits."""
        splits = [self.split_folder(split) for split in SPLITS]
        return sorted({os.path.realpath(split / name) for split in splits for name in class_folders(split)})

    def warn_of_overlaps(self, split: str, found: list[Found], labels: torch.Tensor) -> None:
        """Say where one file is an image of two classes, or is trained and measured on."""
        faults = [of_two_classes(found, labels)]
        if split == "train":
            self.trained_on = numbers(found)
        else:
            faults.append(of_two_splits(self.trained_on, found))
        for fault in faults:
            if fault is not None:
                warn(f"data.root={self.root}: in {split}/ {fault}")
