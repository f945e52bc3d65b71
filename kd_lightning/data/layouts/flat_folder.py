"""One folder of images, by class, of which none are set apart for the test."""

import os
import re
from functools import cached_property
from typing import Any

import numpy as np
import torch

from kd_lightning.data.folders.files import FileImages
from kd_lightning.data.folders.images import SUFFIXES
from kd_lightning.data.folders.listing import Found, class_folders, entries, image_files, is_folder, number_of
from kd_lightning.data.folders.overlaps import of_two_classes
from kd_lightning.data.layouts.parted import SHOWN, PartedDataModule
from kd_lightning.data.values import check_text
from kd_lightning.errors import UserError
from kd_lightning.terminal import warn

BEFORE_NUMBER = r"(.+?)[ ._-]*\(?\d+\)?\.\w+$"  # cat.12.jpg, great_pyrenees_7.jpg, cat (3).png


class FlatFolderDataModule(PartedDataModule):
    """`root`/<class>/<image>, or `root`/<image> with the class in the file's name.

    `class_pattern` is a regular expression whose first group is the class; the beginning of a name up to its last
    number where None. It counts where there are no class folders.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from kd_lightning.data import FlatFolderDataModule
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("cat.1.png", "cat.2.png", "cat.3.png", "dog.1.png", "dog.2.png", "dog.3.png"):
        ...         Image.new("RGB", (40, 40)).save(Path(root) / name)
        ...     data = FlatFolderDataModule(root=root, image_size=32, resize_size=36, test_fraction=0.3, val_fraction=0)
        ...     data.setup("fit")
        ...     data.class_names, len(data.train_set), len(data.test_set)
        (['cat', 'dog'], 4, 2)
    """

    def __init__(self, *, name: str = "flat_folder", class_pattern: str | None = None, **common: Any) -> None:
        super().__init__(name=name, **common)
        self.class_pattern = class_pattern

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def check_place(self) -> None:
        check_text("data.class_pattern", self.class_pattern, "a regular expression, the class in brackets")
        if self.root is None:
            raise UserError("data.root=null: give the folder that holds the images, by class, data.root=/path")
        if not os.path.isdir(self.root):
            raise UserError(f"{self.place}: no such folder; give the one that holds the images, by class")
        folders = {*class_folders(self.root)}
        if "train" in folders and folders <= {"train", "val", "test", "valid", "validation"}:
            raise UserError(f"{self.place}: holds train/, so some are set apart already; take data=folder")
        try:
            pattern = re.compile(self.class_pattern or BEFORE_NUMBER)
        except re.error as error:
            raise UserError(f"data.class_pattern={self.class_pattern}: is no regular expression ({error})") from None
        if pattern.groups < 1:
            raise UserError(f"data.class_pattern={self.class_pattern}: has no group; put the class in brackets, (.+)_")

    @cached_property
    def by_class(self) -> list[tuple[str, Found]]:
        """All images with the names of their classes. Raises UserError where there are none."""
        self.check_place()
        assert self.root is not None
        folders = class_folders(self.root)
        loose = [entry for entry in entries(self.root) if not is_folder(entry) and is_image(entry.name)]
        if not folders:
            device = os.stat(self.root).st_dev
            return [(self.class_of(entry.name), Found(entry.name, number_of(entry, device))) for entry in loose]
        if loose:
            warn(
                f"{self.place}: {len(loose)} images are in no class folder, such as {loose[0].name}; they are left out"
            )
        places = sorted(os.path.realpath(self.root / name) for name in folders)
        found = []
        for name in folders:
            files = image_files(self.root / name, lambda: places)
            if not files:
                raise UserError(f"{self.place}: class folder {name} holds no image file; fill or remove it")
            found += [(name, Found(os.path.join(name, one.name), one.file)) for one in files]
        return found

    def class_of(self, name: str) -> str:
        found = re.match(self.class_pattern or BEFORE_NUMBER, name)
        if found is None or not found[1]:
            key = "" if self.class_pattern is None else f" (data.class_pattern={self.class_pattern})"
            raise UserError(
                f"{self.place}: the name {name} tells no class{key}; sort the images into a folder for each class, or "
                "give data.class_pattern"
            )
        return found[1]

    def found_classes(self) -> list[str]:
        if not self.by_class:
            some = " ".join(sorted(SUFFIXES)[:SHOWN])
            raise UserError(f"{self.place}: holds no image file ({some} …); give the folder that holds the images")
        return sorted({name for name, _ in self.by_class})

    def listed(self, split: str) -> FileImages:
        assert self.root is not None
        names, found = zip(*self.by_class, strict=True)
        targets = self.of_labels(names)
        if (fault := of_two_classes(found, targets)) is not None:
            warn(f"{self.place}: {fault}")
        files = np.array([os.fsencode(one.name) for one in found])
        return FileImages(self.root, files, targets.to(torch.int64), self.image_size, self.resize_size, self.crops)


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
