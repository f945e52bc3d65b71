"""A second, strongly augmented view of each training image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kd_lightning.data.augment import Augmentation
from kd_lightning.errors import UserError

STRONG_VIEWS = 2**31 - 1


class StrongAugmentation(Protocol):
    """images uint8 (B, C, H, W) and views int64 (B,) -> images uint8 (B, C, H, W)."""

    def __call__(self, images: Tensor, views: Tensor) -> Tensor: ...


class Operation(NamedTuple):
    """Alters an image (C, H, W) with a strength from `low` to `high`; a shift's is in parts of the width."""

    apply: Callable[[Tensor, float], Tensor]
    low: float = 0.0
    high: float = 0.0


def _move(
    image: Tensor, *, angle: float = 0.0, shift: tuple[float, float] = (0, 0), shear: tuple[float, float]
) -> Tensor:
    height, width = image.shape[-2:]
    pixels = [round(shift[0] * width), round(shift[1] * height)]
    return F.affine(image, angle=angle, translate=pixels, scale=1.0, shear=[*shear])


NONE = (0.0, 0.0)
DEGREES = 180 / torch.pi
OPERATIONS = (
    Operation(lambda image, _: image),
    Operation(lambda image, _: F.autocontrast(image)),
    Operation(lambda image, _: F.equalize(image)),
    Operation(F.adjust_brightness, 0.05, 0.95),
    Operation(F.adjust_saturation, 0.05, 0.95),
    Operation(F.adjust_contrast, 0.05, 0.95),
    Operation(F.adjust_sharpness, 0.05, 0.95),
    Operation(lambda image, bits: F.posterize(image, int(bits)), 4, 8),
    Operation(F.solarize, 0, 255),
    Operation(lambda image, degrees: _move(image, angle=degrees, shear=NONE), -30, 30),
    Operation(lambda image, slope: _move(image, shear=(slope * DEGREES, 0)), -0.3, 0.3),
    Operation(lambda image, slope: _move(image, shear=(0, slope * DEGREES)), -0.3, 0.3),
    Operation(lambda image, part: _move(image, shift=(part, 0), shear=NONE), -0.3, 0.3),
    Operation(lambda image, part: _move(image, shift=(0, part), shear=NONE), -0.3, 0.3),
)


@dataclass(frozen=True)
class RandAugment:
    """Some random operations of random strength, then a grey square over a random place.

    Cubuk et al. 2020, arXiv:1909.13719, in FixMatch's form (Sohn et al. 2020, arXiv:2001.07685), which MLKD uses: of 14
    operations `operations` are drawn with replacement, each with a uniform strength; the square's side is uniform from
    0 to `largest_square`, in parts of the width. A pure function of (image, view), on the CPU. Raises UserError.
    """

    operations: int = 2
    largest_square: float = 0.5

    def __post_init__(self) -> None:
        if self.operations < 0:
            raise UserError(f"data.strong.operations={self.operations}: how many follow one another, 0 or more")
        if not 0 <= self.largest_square <= 1:
            raise UserError(f"data.strong.largest_square={self.largest_square}: a part of the width, from 0 to 1")

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return torch.stack([self._one(image, view) for image, view in zip(images, views.tolist(), strict=True)])

    def _one(self, image: Tensor, view: int) -> Tensor:
        draw = torch.Generator().manual_seed(view)
        for chosen in torch.randint(len(OPERATIONS), (self.operations,), generator=draw).tolist():
            operation = OPERATIONS[chosen]
            strength = operation.low + (operation.high - operation.low) * torch.rand((), generator=draw).item()
            image = operation.apply(image, strength)
        size, x, y = torch.rand(3, generator=draw).tolist()
        return _square(image, size * self.largest_square, x, y)


@dataclass(frozen=True)
class StrongView:
    """The whole way to the strong view: the weak augmentation, drawn anew, then the strong one."""

    weak: Augmentation
    strong: StrongAugmentation

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return self.strong(self.weak(images, views % self.weak.num_views), views)


def _square(image: Tensor, size: float, x: float, y: float) -> Tensor:
    """A grey square around (x, y), all in parts of the width and height; parts of it may lie outside."""
    height, width = image.shape[-2:]
    half = size * width / 2
    left, right = (round(max(0.0, min(width, x * width + side * half))) for side in (-1, 1))
    top, bottom = (round(max(0.0, min(height, y * height + side * half))) for side in (-1, 1))
    covered = image.clone()
    covered[:, top:bottom, left:right] = 127
    return covered
