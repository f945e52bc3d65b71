"""Augmentation of a whole batch, as a pure function of the images and their views.

An augmentation of your own has `num_views` and `__call__(images, views)` as below, and a `repr` that names its
parameters: the repr goes into the data's fingerprint. With an attribute `in_loader = True` it is called on the CPU, in
the loader, with uint8 images, and returns such. An attribute `plain_view` names the view that shows an image as it is,
where there is one: answers to it that are kept serve where images are not augmented.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.data.values import check_flag, check_whole
from kd_lightning.errors import UserError

MOST_PADDING = 2**13


class Augmentation(Protocol):
    """images (B, C, H, W) and views int64 (B,) in [0, num_views) -> images (B, C, H, W)."""

    @property
    def num_views(self) -> int: ...

    def __call__(self, images: Tensor, views: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Identity:
    """The images as they are: one view.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import Identity
        >>> images = torch.rand(2, 3, 32, 32)
        >>> Identity()(images, torch.zeros(2, dtype=torch.long)) is images
        True
    """

    @property
    def num_views(self) -> int:
        return 1

    @property
    def plain_view(self) -> int:
        return 0

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class CropFlip:
    """A crop of the original size out of the image padded with zeros, mirrored or not; any dtype and device.

    A view counts mirrored fastest, then the crop's left edge, then its top edge. Raises UserError for bad values.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import CropFlip
        >>> augment = CropFlip(padding=1, flip=True)
        >>> augment.num_views  # 3 x 3 crops, mirrored or not
        18
        >>> images = torch.arange(9.0).view(1, 1, 3, 3)
        >>> augment(images, torch.tensor([9]))[0, 0]  # the crop in the middle, mirrored
        tensor([[2., 1., 0.],
                [5., 4., 3.],
                [8., 7., 6.]])
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        check_whole("data.augment.padding", self.padding, 0, MOST_PADDING)
        check_flag("data.augment.flip", self.flip)

    @property
    def num_views(self) -> int:
        return (2 * self.padding + 1) ** 2 * (2 if self.flip else 1)

    @property
    def plain_view(self) -> int:
        middle = self.padding * (2 * self.padding + 1) + self.padding
        return 2 * middle if self.flip else middle

    def draw(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """views (B,) -> top and left edge of the crop in the padded image, and whether it is mirrored: each (B,)."""
        mirrored = views % 2 if self.flip else torch.zeros_like(views)
        place = views // 2 if self.flip else views
        shifts = 2 * self.padding + 1
        return place // shifts, place % shifts, mirrored.bool()

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        channels, height, width = images.shape[1:]
        top, left, mirrored = self.draw(views)
        columns = torch.arange(width, device=images.device)
        columns = torch.where(mirrored[:, None], columns.flip(0), columns) + left[:, None]
        rows = torch.arange(height, device=images.device) + top[:, None]
        pixels = rows[:, :, None] * (width + 2 * self.padding) + columns[:, None, :]
        padded = F.pad(images, [self.padding] * 4).flatten(2)
        return padded.gather(2, pixels.flatten(1)[:, None].expand(-1, channels, -1)).view_as(images)


def in_unit_range(images: Tensor, whole_numbers: bool) -> Tensor:
    """Images (B, C, H, W), which come from whole numbers or are in [0, 1] already, as float32 in [0, 1].

    Raises UserError for whole numbers but uint8.
    """
    if not images.is_floating_point() and images.dtype != torch.uint8:
        raise UserError(f"batch: images are {images.dtype}; give uint8 from 0 to 255, or floats in [0, 1]")
    if images.is_floating_point():
        return images.float() / 255 if whole_numbers else images.float()
    return images.float().div_(255)
