"""Augmentations tried on white images, before they are trusted with a training."""

from collections.abc import Callable

import torch
from torch import Tensor

from kd_lightning.data.augmentation.augment import Augmentation
from kd_lightning.data.augmentation.strong import STRONG_VIEWS, StrongAugmentation, StrongView
from kd_lightning.errors import UserError


def try_augmentations(augment: Augmentation, strong: StrongAugmentation | None, shape: tuple[int, ...]) -> None:
    """Raise UserError unless both make images (C, H, W) of one shape of such images, whatever their views."""
    try_one("data.augment", augment, augment, augment.num_views, shape)
    if strong is not None:
        try_one("data.strong", strong, StrongView(augment, strong), STRONG_VIEWS, shape)


def try_one(
    key: str, given: object, apply: Callable[[Tensor, Tensor], Tensor], views: int, shape: tuple[int, ...]
) -> None:
    """Raise UserError for an augmentation that does not take images, or changes their shape or range."""
    images = torch.full((2, *shape), 255, dtype=torch.uint8)
    name = type(given).__name__
    try:
        made = apply(images, torch.tensor([0, views - 1]))
    except Exception as error:  # a class of the user's own may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{key}={name}: does not take images (B, C, H, W) with views (B,) ({reason}); see "
            "kd_lightning.data.Augmentation"
        ) from error
    if not isinstance(made, Tensor) or made.shape != images.shape:
        what = f"{tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise UserError(f"{key}={name}: makes {what} of images {tuple(images.shape)}; keep their shape")
    if made.is_floating_point() and made.max() <= 1:
        raise UserError(f"{key}={name}: makes floats up to {made.max():g} of images from 0 to 255; keep their range")
