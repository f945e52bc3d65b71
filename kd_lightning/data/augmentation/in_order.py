"""Several augmentations, one after the other, as `data.augment=[crop_flip,randaugment]` names them."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.augmentation.augment import Augmentation, CropFlip, Identity
from kd_lightning.data.augmentation.batched import ColorJitter, RandomErasing, rand_augment, trivial_augment
from kd_lightning.data.augmentation.per_image import PerImage
from kd_lightning.data.values import MOST_VIEWS, check_callable, check_whole
from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.store.hashing import MASK, fold, scramble

CROP_FLIP = "crop_flip"
LOOKED_AT = 2**16  # views, among which one may show an image as it is
SMALL = 64  # pixels of a side, up to which AutoAugment's policy is CIFAR-10's


def _autoaugment(image_size: int) -> Augmentation:
    """Cubuk et al. 2019, arXiv:1805.09501, as torchvision has it."""
    from torchvision.transforms import v2

    policies = v2.AutoAugmentPolicy
    return PerImage(v2.AutoAugment(policies.CIFAR10 if image_size <= SMALL else policies.IMAGENET))


NAMED: dict[str, Callable[[int], Augmentation]] = {
    "randaugment": lambda _: rand_augment(),
    "trivialaugment": lambda _: trivial_augment(),
    "autoaugment": _autoaugment,
    "color_jitter": lambda _: ColorJitter(),
    "random_erasing": lambda _: RandomErasing(),
}


@dataclass(frozen=True)
class InOrder:
    """Augmentations, each by its name or as an object: one of (images, views), or a transform of one image.

    Names are `crop_flip`, which is the data's usual augmentation, `randaugment`, `trivialaugment`, `autoaugment`,
    `color_jitter` and `random_erasing`, as torchvision has them.

    Examples:
        >>> from torchvision.transforms import v2
        >>> from kd_lightning.data import DigitsDataModule, InOrder
        >>> data = DigitsDataModule(augment=InOrder(["crop_flip", v2.RandomRotation(15)]))
        >>> data.num_views  # each image shows another variant in each epoch
        2147483647
    """

    parts: Sequence[Any]

    def resolved(self, crop_flip: Augmentation, image_size: int) -> tuple[Augmentation, ...]:
        """The augmentations by themselves. Raises UserError for a name that nobody has, and for what is none."""
        parts = self.parts
        if isinstance(parts, str) or not isinstance(parts, Sequence):
            raise UserError(f"data.augment={parts}: must be a list of augmentations, such as [crop_flip,randaugment]")
        return tuple(self._resolved(part, crop_flip, image_size) for part in parts)

    def _resolved(self, part: Any, crop_flip: Augmentation, image_size: int) -> Augmentation:
        if part == CROP_FLIP:
            return crop_flip
        if isinstance(part, str) and part in NAMED:
            return NAMED[part](image_size)
        if not callable(part):
            names = (CROP_FLIP, *NAMED)
            raise UserError(
                f"data.augment=[{part}]: no such augmentation; {did_you_mean(str(part), names)}there are "
                f"{', '.join(names)}, and transforms of torchvision as mappings with _target_"
            )
        return as_augmentation(part)


@dataclass(frozen=True)
class Chain:
    """Augmentations one after the other, of which an image can show so many variants.

    Each has a view of its own, which follows from the image's. `first` is the number of the first one, where others
    have been applied before.
    """

    parts: tuple[Augmentation, ...]
    num_views: int = MOST_VIEWS
    first: int = 0

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        for number, part in enumerate(self.parts, self.first):
            images = part(images, scramble((views ^ fold(number)) & MASK) % part.num_views)
        return images


def as_augmentation(given: Any) -> Augmentation:
    """One of whole batches, or a transform of one image as such. Raises UserError for what is neither."""
    check_callable("data.augment", given, "an augmentation, such as kd_lightning.data.CropFlip, or a list of such")
    if not hasattr(given, "num_views") and takes_one(given):
        return PerImage(given)
    check_whole("data.augment.num_views", getattr(given, "num_views", None), 1, MOST_VIEWS)
    augmentation: Augmentation = given
    return augmentation


def takes_one(function: Any) -> bool:
    """Whether a function or a module can be called with one argument."""
    try:
        inspect.signature(getattr(function, "forward", function)).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def as_order(given: Any) -> InOrder | None:
    """What a config gives as a list; None of whatever else."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return InOrder(given)
    return given if isinstance(given, InOrder) else None


def usual_crop(usual: Augmentation) -> Augmentation:
    """What `crop_flip` is for data of a usual augmentation."""
    return CropFlip() if isinstance(usual, Identity) else usual


def chained(parts: tuple[Augmentation, ...], views: int | None) -> Augmentation:
    """One augmentation by itself, several as a chain, of as many variants as there are, or as `views` says.

    Raises UserError for views that are no number of them.
    """
    if views is not None:
        check_whole("data.views", views, 1, MOST_VIEWS)
        return Chain(parts, views)
    if len(parts) > 1:
        return Chain(parts)
    return parts[0] if parts else Identity()


def works_in_loader(augment: object) -> bool:
    """Whether an augmentation works on the CPU, image by image, as its attribute `in_loader` says."""
    parts = augment.parts if isinstance(augment, Chain) else (augment,)
    return any(getattr(part, "in_loader", False) for part in parts)


def divided(augment: Augmentation) -> tuple[Augmentation | None, Augmentation]:
    """What the loader does of an augmentation on the CPU, None of nothing, and what is left for the device.

    A chain is divided behind the last of its parts that works in the loader.
    """
    if not works_in_loader(augment):
        return None, augment
    if not isinstance(augment, Chain):
        return augment, Identity()
    end = 1 + max(number for number, part in enumerate(augment.parts) if works_in_loader(part))
    rest = augment.parts[end:]
    views = augment.num_views
    return Chain(augment.parts[:end], views, augment.first), Chain(rest, views, augment.first + end)


def plain_view(augment: Augmentation) -> int | None:
    """A view that shows images as they are; None where none is known.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import CropFlip
        >>> from kd_lightning.data.augmentation.in_order import plain_view
        >>> images = torch.rand(1, 3, 8, 8)
        >>> torch.equal(CropFlip()(images, torch.tensor([plain_view(CropFlip())])), images)
        True
    """
    if not isinstance(augment, Chain):
        found: int | None = getattr(augment, "plain_view", None)
        return found
    views = torch.arange(min(augment.num_views, LOOKED_AT))
    is_plain = torch.ones_like(views) > 0
    for number, part in enumerate(augment.parts, augment.first):
        own = plain_view(part)
        if own is None:
            return None
        is_plain &= scramble((views ^ fold(number)) & MASK) % part.num_views == own
    return int(views[is_plain][0]) if bool(is_plain.any()) else None
