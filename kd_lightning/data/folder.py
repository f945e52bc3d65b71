"""Image folders: ImageNet's layout, or any <split>/<class>/<image file>."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning.data.augment import Identity
from kd_lightning.data.batches import Images
from kd_lightning.data.files import FileImages, class_folders, image_files
from kd_lightning.data.images import DECODING, SUFFIXES
from kd_lightning.data.module import ImageDataModule, Sources
from kd_lightning.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_VIEWS = 2**31 - 1


class ImageFolderDataModule(ImageDataModule):
    """`root`/{train,val,test}/<class>/<image>: classes are the folders, by name.

    train/ is needed, and val/ or test/. Where both stand, val/ validates and val_fraction has no effect. Where one
    does, it is the test set, as ImageNet's val/ is in published tables, and val_fraction splits validation off train/.
    A split without class folders, such as ImageNet's unlabelled test/, counts as none.
    """

    in_channels = 3

    def __init__(
        self,
        *,
        name: str = "folder",
        image_size: int = 224,
        resize_size: int = 256,
        views: int = MOST_VIEWS,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.name = name
        self.image_size = image_size
        self.resize_size = resize_size
        self.num_views = views
        self.mean, self.std = tuple(mean), tuple(std)
        self.augment = Identity()  # on the device; the worker's part is a function of the view

    @cached_property
    def class_names(self) -> list[str]:
        self.check_folders()
        return class_folders(self.split_folder("train"))

    def split_folder(self, split: str) -> Path:
        assert self.root is not None
        return self.root / split

    @property
    def test_split(self) -> str:
        return "test" if class_folders(self.split_folder("test")) else "val"

    @property
    def has_validation(self) -> bool:
        """val/ and test/ both stand."""
        return self.test_split == "test" and bool(class_folders(self.split_folder("val")))

    @property
    def validates_on(self) -> str:
        return "validation" if self.has_validation else super().validates_on

    def check(self) -> None:
        super().check()
        for key in ("image_size", "resize_size", "num_views"):
            value = getattr(self, key)
            if not (isinstance(value, int) and 1 <= value <= MOST_VIEWS):
                name = key.removeprefix("num_")
                raise UserError(f"data.{name}={value}: must be a whole number from 1 to {MOST_VIEWS}")
        if self.resize_size < self.image_size:
            raise UserError(
                f"data.resize_size={self.resize_size}: smaller than data.image_size={self.image_size}, which is cut "
                "out of it; make it as large at least"
            )
        self.check_folders()
        self.check_classes()

    def check_folders(self) -> None:
        """Raise UserError unless the root and its splits stand."""
        if self.root is None:
            what = "ImageNet's folder" if self.name == "imagenet" else "the folder that holds train/ and val/"
            raise UserError(f"data.root=null: give {what}, data.root=/path")
        if not self.root.is_dir():
            raise UserError(f"data.root={self.root}: no such folder; give the one that holds train/ and val/")
        for split in ("train", self.test_split):
            folder = self.split_folder(split)
            if not folder.is_dir():
                raise UserError(f"data.root={self.root}: no {split}/ in it; give the folder that holds train/ and val/")
            if not class_folders(folder):
                raise UserError(
                    f"data.root={self.root}: {split}/ holds no class folders; sort its images into {split}/<class>/"
                )

    def check_classes(self) -> None:
        """Raise UserError where splits differ in their classes, or a class folder is empty."""
        splits = ["train", "val", "test"] if self.has_validation else ["train", self.test_split]
        for split in splits:
            names = set(class_folders(self.split_folder(split)))
            for name in sorted(names ^ {*self.class_names}):
                there, absent = (split, "train") if name in names else ("train", split)
                raise UserError(
                    f"data.root={self.root}: class {name} stands in {there}/ but not in {absent}/; "
                    "give all splits the same class folders"
                )
        for split in splits:
            for name in self.class_names:
                if next(os.scandir(self.split_folder(split) / name), None) is None:
                    raise UserError(f"data.root={self.root}: class folder {split}/{name} is empty; fill or remove it")

    def read(self) -> Sources:
        return Sources(
            train=self.source("train"),
            test=self.source(self.test_split),
            val=self.source("val") if self.has_validation else None,
        )

    def source(self, split: str) -> Images:
        """The images of a split. Raises UserError."""
        return self.list_split(split)

    def list_split(self, split: str) -> FileImages:
        """The files of a split, class by class. Raises UserError where a class has no image."""
        folder, names, targets = self.split_folder(split), [], []
        for label, class_name in enumerate(self.class_names):
            if not (files := image_files(folder / class_name)):
                raise UserError(
                    f"data.root={self.root}: class folder {split}/{class_name} holds no image file "
                    f"({' '.join(sorted(SUFFIXES))}); fill or remove it"
                )
            names += [os.fsencode(os.path.join(class_name, file)) for file in files]
            targets += [label] * len(files)
        return FileImages(folder, np.array(names), torch.tensor(targets), self.image_size, self.resize_size)

    def fingerprint(self) -> dict[str, Any]:
        base = super().fingerprint()
        sets = (self.train_set, self.val_set, self.test_set)
        splits = {s.images.root.name: s.images for s in sets if isinstance(s.images, FileImages)}
        content = {split: images.digest() for split, images in splits.items()}
        return {**base, "resize_size": self.resize_size, "decoding": DECODING, "content": content}
