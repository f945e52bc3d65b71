"""Augmentations tried on white images, before they are trusted with a training."""

from collections.abc import Callable

import torch
from torch import Tensor

from kd_lightning.data.augmentation.augment import Augmentation
from kd_lightning.data.augmentation.in_order import Chain, works_in_loader
from kd_lightning.data.augmentation.per_image import PerImage
from kd_lightning.data.augmentation.strong import STRONG_VIEWS, StrongAugmentation, StrongView
from kd_lightning.errors import UserError


def try_augmentations(augment: Augmentation, strong: StrongAugmentation | None, shape: tuple[int, ...]) -> None:
    """Raise UserError unless both make images (C, H, W) of one shape of such images, whatever their views."""
    for part in augment.parts if isinstance(augment, Chain) else (augment,):
        try_one("data.augment", part, part, part.num_views, shape)
    if strong is not None:
        try_one("data.strong", strong, StrongView(augment, strong), STRONG_VIEWS, shape)


def try_one(
    key: str, given: object, apply: Callable[[Tensor, Tensor], Tensor], views: int, shape: tuple[int, ...]
) -> None:
    """Raise UserError for an augmentation that does not take images, or changes their shape, type or range."""
    images = torch.full((2, *shape), 255, dtype=torch.uint8)
    name = given.name if isinstance(given, PerImage) else type(given).__name__
    try:
        made = apply(images, torch.tensor([0, views - 1]))
    except Exception as error:  # a class of the user's own may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        what = "images (B, C, H, W) with views (B,)"
        hint = "see kd_lightning.data.Augmentation"
        if isinstance(given, PerImage):
            what, hint = f"images (C, H, W) of uint8, here {tuple(shape)}", "give another transform, or null"
        raise UserError(f"{key}={name}: does not take {what} ({reason}); {hint}") from error
    if not isinstance(made, Tensor) or made.shape != images.shape:
        what = f"{tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise UserError(f"{key}={name}: makes {what} of images {tuple(images.shape)}; keep their shape")
    if made.is_floating_point() and made.max() <= 1:
        raise UserError(f"{key}={name}: makes floats up to {made.max():g} of images from 0 to 255; keep their range")
    if works_in_loader(given) and made.dtype != torch.uint8:
        kind = str(made.dtype).removeprefix("torch.")
        raise UserError(f"{key}={name}: makes {kind} of images of uint8; keep their type")
