"""torchvision's random transforms on whole batches, on any device, where each image has draws of its own."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kd_lightning.data.augmentation import operations as do
from kd_lightning.data.augmentation.operations import chance, one_of
from kd_lightning.data.values import MOST_VIEWS

BINS = 31  # of strengths
ATTEMPTS = 10  # at a rectangle that fits


@dataclass(frozen=True)
class RandomOperations:
    """Some of 14 operations, each drawn with replacement and of either sign: RandAugment, TrivialAugment.

    Ranges are from 0 to that many of each: `shear`, `translate` pixels, of which None are 150/331 of the width,
    `rotate` degrees, `color` of brightness, saturation, contrast and sharpness, `posterize` bits. The strength is
    `magnitude` of 30 parts of a range, None any. As torchvision's transforms for PIL images, pixel by pixel but for
    rounding; a pure function of image and view.
    """

    operations: int
    magnitude: int | None
    shear: float
    translate: float | None
    rotate: float
    color: float
    posterize: int

    num_views: ClassVar[int] = MOST_VIEWS

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        height, width = images.shape[2:]
        across, down = ((150 / 331 * side) if self.translate is None else self.translate for side in (width, height))
        images = as_pixels(images)
        for number in range(0, 3 * self.operations, 3):
            drawn, level, side = (chance(views, number + further) for further in range(3))
            share = (level * BINS).floor() / (BINS - 1)
            if self.magnitude is not None:
                share = torch.full_like(share, self.magnitude / (BINS - 1))
            signed = torch.where(side < 0.5, -share, share)
            changes: list[tuple[do.Change, Tensor]] = [
                (do.same, share),
                (do.shear_x, self.shear * signed),
                (do.shear_y, self.shear * signed),
                (do.translate_x, across * signed),
                (do.translate_y, down * signed),
                (do.rotate, self.rotate * signed),
                (do.brightness, 1 + self.color * signed),
                (do.saturation, 1 + self.color * signed),
                (do.contrast, 1 + self.color * signed),
                (do.sharpness, 1 + self.color * signed),
                (do.posterize, (8 - self.posterize * share).round()),
                (do.solarize, 255 * (1 - share)),
                (do.autocontrast, share),
                (do.equalize, share),
            ]
            chosen = (drawn * len(changes)).long()
            strengths = torch.stack([strength for _, strength in changes]).gather(0, chosen[None])[0]
            images = one_of([change for change, _ in changes], chosen, images, strengths)
        return images


def rand_augment() -> RandomOperations:
    """Cubuk et al. 2020, arXiv:1909.13719, of two operations of magnitude 9."""
    return RandomOperations(2, 9, shear=0.3, translate=None, rotate=30.0, color=0.9, posterize=4)


def trivial_augment() -> RandomOperations:
    """Müller, Hutter 2021, arXiv:2103.10158, of one operation of any strength in wide ranges."""
    return RandomOperations(1, None, shear=0.99, translate=32.0, rotate=135.0, color=0.99, posterize=6)


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation in any order, each times a factor from 1 - a to 1 + a."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    num_views: ClassVar[int] = MOST_VIEWS

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        images = as_pixels(images)
        ranges = (self.brightness, self.contrast, self.saturation)
        lows = [max(0.0, 1 - a) for a in ranges]
        spans = zip(ranges, lows, strict=True)
        drawn = [low + (1 + a - low) * chance(views, number) for number, (a, low) in enumerate(spans)]
        factors = torch.stack(drawn)
        order = torch.stack([chance(views, len(ranges) + number) for number in range(len(ranges))]).argsort(dim=0)
        for chosen in order:
            strengths = factors.gather(0, chosen[None])[0]
            images = one_of([do.brightness, do.contrast, do.saturation], chosen, images, strengths)
        return images


@dataclass(frozen=True)
class RandomErasing:
    """A black rectangle over half of the images, of a share of the area and a ratio of sides, log-uniform, in ranges.

    Zhong et al. 2020, arXiv:1708.04896.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    num_views: ClassVar[int] = MOST_VIEWS

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        height, width = images.shape[2:]
        areas, ratios, tops, lefts = (
            torch.stack([chance(views, 1 + 4 * attempt + number) for attempt in range(ATTEMPTS)]) for number in range(4)
        )
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * areas)
        low, high = (math.log(one) for one in self.ratio)
        ratio = (low + (high - low) * ratios).exp()
        tall, wide = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (tall < height) & (wide < width)
        first = fits.int().argmax(dim=0, keepdim=True)
        top, left = (tops * (height - tall + 1)).long(), (lefts * (width - wide + 1)).long()
        top, left, tall, wide = (one.gather(0, first)[0].view(-1, 1, 1, 1) for one in (top, left, tall, wide))
        erased = (fits.any(dim=0) & (chance(views, 0) < self.p)).view(-1, 1, 1, 1)
        rows = torch.arange(height, device=images.device).view(-1, 1)
        columns = torch.arange(width, device=images.device)
        covered = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
        return torch.where(covered & erased, torch.zeros_like(images), images)


def as_pixels(images: Tensor) -> Tensor:
    """Images (B, C, H, W) from 0 to 255 as uint8."""
    return images.round().clamp(0, 255).to(torch.uint8) if images.is_floating_point() else images
