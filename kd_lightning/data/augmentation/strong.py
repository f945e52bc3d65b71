"""A second, strongly augmented view of each training image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kd_lightning.data.augmentation.augment import Augmentation
from kd_lightning.data.values import check_whole, is_number
from kd_lightning.errors import UserError

STRONG_VIEWS = 2**31 - 1
MOST_OPERATIONS = 100


class StrongAugmentation(Protocol):
    """images uint8 (B, C, H, W) and views int64 (B,) -> images uint8 (B, C, H, W)."""

    def __call__(self, images: Tensor, views: Tensor) -> Tensor: ...


class Operation(NamedTuple):
    """Alters an image (C, H, W) with a strength from `low` to `high`; a shift's is in parts of the width or height."""

    apply: Callable[[Tensor, float], Tensor]
    low: float = 0.0
    high: float = 0.0


def _resample(image: Tensor, columns: tuple[float, float, float], rows: tuple[float, float, float]) -> Tensor:
    """PIL's affine transform: the pixel at (x, y) is the one that holds (a·x + b·y + c, d·x + e·y + f), else black.

    `columns` are a, b, c, `rows` d, e, f; (x, y) is a pixel's centre, counted from the top left corner.
    """
    height, width = image.shape[-2:]
    x, y = torch.arange(width, dtype=torch.float64) + 0.5, torch.arange(height, dtype=torch.float64)[:, None] + 0.5
    column, row = ((by_x * x + by_y * y + offset).floor().long() for by_x, by_y, offset in (columns, rows))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return image[:, row.clamp(0, height - 1), column.clamp(0, width - 1)] * inside


def _rotate(image: Tensor, degrees: float) -> Tensor:
    """About the centre, against the clock."""
    (height, width), angle = image.shape[-2:], math.radians(degrees)
    x, y, sine, cosine = width / 2, height / 2, math.sin(angle), math.cos(angle)
    return _resample(image, (cosine, -sine, x - cosine * x + sine * y), (sine, cosine, y - sine * x - cosine * y))


SAME_X, SAME_Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
OPERATIONS = (
    Operation(lambda image, _: image),
    Operation(lambda image, _: F.autocontrast(image)),
    Operation(lambda image, _: F.equalize(image)),
    Operation(F.adjust_brightness, 0.05, 0.95),
    Operation(F.adjust_saturation, 0.05, 0.95),
    Operation(F.adjust_contrast, 0.05, 0.95),
    Operation(F.adjust_sharpness, 0.05, 0.95),
    Operation(lambda image, bits: F.posterize(image, int(bits)), 4, 8),
    Operation(lambda image, threshold: torch.where(image >= float(threshold), 255 - image, image), 0, 256),
    Operation(_rotate, -30, 30),
    # About the top left corner.
    Operation(lambda image, slope: _resample(image, (1.0, slope, 0.0), SAME_Y), -0.3, 0.3),
    Operation(lambda image, slope: _resample(image, SAME_X, (slope, 1.0, 0.0)), -0.3, 0.3),
    Operation(lambda image, part: _resample(image, (1.0, 0.0, part * image.shape[-1]), SAME_Y), -0.3, 0.3),
    Operation(lambda image, part: _resample(image, SAME_X, (0.0, 1.0, part * image.shape[-2])), -0.3, 0.3),
)
GREY = (125, 123, 114)  # of the square, in red, green and blue


@dataclass(frozen=True)
class RandAugment:
    """Some random operations of random strength, then a grey square over a random place.

    Cubuk et al. 2020, arXiv:1909.13719, in FixMatch's form (Sohn et al. 2020, arXiv:2001.07685), as MLKD's code has it:
    of 14 operations `operations` are drawn with replacement, each with a uniform strength; the square's side is uniform
    from 0 to `largest_square`, in parts of the width, and both its edges count, so it covers a pixel more. A pure
    function of (image, view), on the CPU. Raises UserError.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import RandAugment
        >>> images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
        >>> augment, views = RandAugment(), torch.tensor([0, 1])
        >>> torch.equal(augment(images, views), augment(images, views))  # a function of image and view
        True
    """

    operations: int = 2
    largest_square: float = 0.5

    in_loader: ClassVar[bool] = True
    num_views: ClassVar[int] = STRONG_VIEWS

    def __post_init__(self) -> None:
        check_whole("data.strong.operations", self.operations, 0, MOST_OPERATIONS)
        if not (is_number(self.largest_square) and 0 <= self.largest_square <= 1):
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
    """A grey square about (x, y), all in parts of the width and height; none of size 0.

    Its corner is clipped at the top and left before the side is added, so the square is moved there, not cut off.
    """
    channels, height, width = image.shape
    side = size * width
    if side <= 0:
        return image
    left, top = (int(max(0.0, place - side / 2)) for place in (x * width, y * height))
    covered = image.clone()
    grey = torch.tensor(GREY if channels == len(GREY) else [round(sum(GREY) / len(GREY))] * channels)
    covered[:, top : int(top + side) + 1, left : int(left + side) + 1] = grey[:, None, None].to(image)
    return covered
