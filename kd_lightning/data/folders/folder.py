"""Image folders: ImageNet's layout, or any <split>/<class>/<image file>."""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kd_lightning.data.augmentation.augment import Augmentation, Identity
from kd_lightning.data.augmentation.in_order import CROP_FLIP, Chain, InOrder, as_order, chained
from kd_lightning.data.batches import Images
from kd_lightning.data.folders.files import FileImages
from kd_lightning.data.folders.images import DECODING, SUFFIXES
from kd_lightning.data.folders.listing import Found, class_folders, entries, image_files, is_empty, is_folder
from kd_lightning.data.folders.overlaps import numbers, of_two_classes, of_two_splits
from kd_lightning.data.module import ImageDataModule, Sources
from kd_lightning.data.values import MOST_VIEWS, as_tuple, check_whole
from kd_lightning.errors import UserError
from kd_lightning.terminal import warn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_PIXELS = 2**13  # a side
SPLITS = ("train", "val", "test")
UNREADABLE = ("Cc", "Cs")  # control characters, and the bytes of another encoding


@dataclass(frozen=True)
class DecodedCrop(Identity):
    """Stands for the random resized crop, mirrored or not, that the file of an image is decoded to."""


CENTRE = Chain((), 1)  # images as evaluation shows them


class ImageFolderDataModule(ImageDataModule):
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

    in_channels = 3

    def __init__(
        self,
        *,
        name: str = "folder",
        image_size: int = 224,
        resize_size: int = 256,
        augment: Callable[..., Any] | InOrder | list[Any] | Literal["auto"] | None = "auto",
        views: int | None = MOST_VIEWS,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        views = MOST_VIEWS if views is None else views
        self.name = name
        self.image_size = image_size
        self.resize_size = resize_size
        self.mean, self.std = as_tuple(mean), as_tuple(std)
        self.trained_on = torch.empty(0, dtype=torch.int64)
        self.augment, self.crops = self.behind_decoding(augment, views)
        self.num_views = views if self.crops or self.augment != CENTRE else 1

    def behind_decoding(self, given: Any, views: int) -> tuple[Augmentation, bool]:
        """What varies images once they are decoded, and whether decoding itself cuts a crop. Raises UserError."""
        order = as_order(given) or InOrder([] if given is None else [CROP_FLIP if given == "auto" else given])
        parts = order.resolved(DecodedCrop(), self.image_size)
        crops = [isinstance(part, DecodedCrop) for part in parts]
        if any(crops[1:]):
            raise UserError(
                f"data.augment={list(order.parts)}: crop_flip cuts out of the file as it is decoded; name it first"
            )
        return (Identity() if crops == [True] else chained(parts, views) if parts else CENTRE), any(crops)

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
        """Raise UserError on values and folders that cannot work."""
        if not (isinstance(self.name, str) and self.name and self.name.isprintable()):
            raise UserError(f"data.name={self.name}: what tables call the data, such as folder")
        for key, most in {"image_size": MOST_PIXELS, "resize_size": MOST_PIXELS, "views": MOST_VIEWS}.items():
            check_whole(f"data.{key}", self.num_views if key == "views" else getattr(self, key), 1, most)
        if self.resize_size < self.image_size:
            raise UserError(
                f"data.resize_size={self.resize_size}: smaller than data.image_size={self.image_size}, which is cut "
                "out of it; make it as large at least"
            )
        self.check_folders()
        super().check()
        self.check_classes()

    def check_folders(self) -> None:
        """Raise UserError unless the root and its splits stand."""
        if self.root is None:
            what = "ImageNet's folder" if self.name == "imagenet" else "the folder that holds train/ and val/"
            raise UserError(f"data.root=null: give {what}, data.root=/path")
        if not os.path.isdir(self.root):
            raise UserError(f"data.root={self.root}: no such folder; give the one that holds train/ and val/")
        for split in ("train", self.test_split):
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
        splits = SPLITS if self.has_validation else ("train", self.test_split)
        for split in splits:
            names = set(class_folders(self.split_folder(split)))
            for name in sorted(names ^ {*self.class_names}):
                there, absent = (split, "train") if name in names else ("train", split)
                raise UserError(
                    f"data.root={self.root}: class {name} stands in {there}/ but not in {absent}/; "
                    "give all splits the same class folders"
                )
        for name in self.class_names:
            if any(unicodedata.category(sign) in UNREADABLE for sign in name):
                raise UserError(
                    f"data.root={self.root}: class folder {name!r} has a name that cannot be shown; rename it in UTF-8"
                )
        for split in splits:
            for name in self.class_names:
                if is_empty(self.split_folder(split) / name):
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
        """The files of a split, class by class. Raises UserError where a class has no image; warns of overlaps."""
        folder, names, targets = self.split_folder(split), [], []
        found: list[Found] = []
        for label, class_name in enumerate(self.class_names):
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

    def fingerprint(self) -> dict[str, Any]:
        base = super().fingerprint()
        sets = (self.train_set, self.val_set, self.test_set)
        splits = {s.images.root.name: s.images for s in sets if isinstance(s.images, FileImages)}
        content = {split: images.digest() for split, images in splits.items()}
        return {**base, "resize_size": self.resize_size, "decoding": DECODING, "content": content}
