"""What data modules share whose images are encoded, as files have them."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from kd_lightning.data.augmentation.augment import Augmentation, Identity
from kd_lightning.data.augmentation.in_order import CROP_FLIP, Chain, InOrder, as_order, chained
from kd_lightning.data.batches import Images
from kd_lightning.data.folders.class_order import class_order, ordered
from kd_lightning.data.folders.files import EncodedImages
from kd_lightning.data.folders.images import DECODING
from kd_lightning.data.folders.readable import Unreadable, readable
from kd_lightning.data.module import ImageDataModule, Sources
from kd_lightning.data.values import MOST_VIEWS, as_folder, as_tuple, check_whole
from kd_lightning.errors import UserError
from kd_lightning.store.folders import cache_dir

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_PIXELS = 2**13  # a side


@dataclass(frozen=True)
class DecodedCrop:
    """Stands for the random resized crop, mirrored or not, that the file of an image is decoded to.

    No view shows the image as evaluation does.
    """

    num_views: ClassVar[int] = 1

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return images


CENTRE = Chain((), 1)  # images as evaluation shows them


class ImageFilesDataModule(ImageDataModule):
    """Images as files have them, decoded as they are asked for: to a random resized crop in training, else the centre.

    A subclass says in `splits` which of `train`, `val` and `test` there are, lists one in `listed`, and finds the names
    of classes in `found_classes`; `class_names` has them in the order of `class_to_idx`, where that is given.

    Args:
        unreadable: `fail` looks at all images beforehand and refuses those that cannot be decoded, all at once; `skip`
            leaves them out; None looks at none, and training ends with the first.
        class_to_idx: the order of the classes, as a mapping, a list, or a file with one; by name where None.
        cache: where what was found of the images is kept; the store where None.
    """

    in_channels = 3

    def __init__(
        self,
        *,
        name: str,
        image_size: int = 224,
        resize_size: int = 256,
        augment: Callable[..., Any] | InOrder | list[Any] | Literal["auto"] | None = "auto",
        views: int | None = MOST_VIEWS,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        unreadable: Unreadable | None = None,
        class_to_idx: str | Path | Mapping[str, Any] | Sequence[str] | None = None,
        cache: str | Path | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        views = MOST_VIEWS if views is None else views
        self.name = name
        self.image_size = image_size
        self.resize_size = resize_size
        self.mean, self.std = as_tuple(mean), as_tuple(std)
        self.unreadable = unreadable
        self.class_to_idx = class_to_idx
        self.cache = as_folder("data.cache", cache) or cache_dir()
        self.augment, self.crops = self.behind_decoding(augment, views)
        self.num_views = views if self.crops or self.mixing.is_on or self.augment != CENTRE else 1

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

    @abstractmethod
    def found_classes(self) -> list[str]:
        """The names of the classes that the data have, in the order of their labels unless another is given."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Which of `train`, `val` and `test` there are."""

    @abstractmethod
    def listed(self, split: str) -> EncodedImages:
        """The images of a split. Raises UserError."""

    @property
    def place(self) -> str:
        """Where the data are, as messages name it."""
        return f"data.root={self.root}"

    def check_place(self) -> None:
        """Raise UserError where the data are not there, or not as they have to be."""

    def check_classes(self) -> None:
        """Raise UserError where the classes are not as they have to be."""

    @cached_property
    def class_names(self) -> list[str]:
        return ordered(self.found_classes(), class_order(self.class_to_idx), self.place)

    @property
    def test_split(self) -> str | None:
        """The split that is tested on: a lone val, too, as ImageNet's is in published tables."""
        return next((split for split in ("test", "val") if split in self.splits), None)

    @property
    def has_validation(self) -> bool:
        """val and test both stand."""
        return {"val", "test"} <= {*self.splits}

    @property
    def validates_on(self) -> str:
        return "validation" if self.has_validation else super().validates_on

    def check(self) -> None:
        """Raise UserError on values and places that cannot work."""
        if not (isinstance(self.name, str) and self.name and self.name.isprintable()):
            raise UserError(f"data.name={self.name}: what tables call the data, such as folder")
        for key, most in {"image_size": MOST_PIXELS, "resize_size": MOST_PIXELS, "views": MOST_VIEWS}.items():
            check_whole(f"data.{key}", self.num_views if key == "views" else getattr(self, key), 1, most)
        if self.resize_size < self.image_size:
            raise UserError(
                f"data.resize_size={self.resize_size}: smaller than data.image_size={self.image_size}, which is cut "
                "out of it; make it as large at least"
            )
        if self.unreadable not in (None, "fail", "skip"):
            raise UserError(f"data.unreadable={self.unreadable}: must be fail, skip or null")
        self.check_place()
        super().check()
        self.check_classes()

    def read(self) -> Sources:
        train, test = self.source("train"), self.test_split
        assert test is not None
        return Sources(train, self.source(test), self.source("val") if self.has_validation else None)

    def source(self, split: str) -> Images:
        """The images of a split that are trained or measured on. Raises UserError."""
        return self.usable(split)

    def usable(self, split: str) -> EncodedImages:
        """Those of a split that can be decoded. Raises UserError where a class has none left to train on."""
        images = self.listed(split)
        found = readable(images, self.unreadable, self.cache)
        if found is images:
            return images
        lost = {*images.targets.tolist()} - {*found.targets.tolist()}
        if split == "train" and lost:
            names = ", ".join(self.class_names[label] for label in sorted(lost) if label >= 0)
            raise UserError(f"data.unreadable=skip: no image of {names} in {images.place} can be read; give others")
        return found

    def fingerprint(self) -> dict[str, Any]:
        base = super().fingerprint()
        sets = {"train": self.train_set, "test": self.test_set, "val": self.val_set if self.has_validation else None}
        images = {split: one.images for split, one in sets.items() if one is not None}
        content = {split: one.digest() for split, one in images.items() if isinstance(one, EncodedImages)}
        return {**base, "resize_size": self.resize_size, "decoding": DECODING, "content": content}
