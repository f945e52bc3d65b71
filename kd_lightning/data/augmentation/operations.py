"""What RandAugment and its like do with images, each image with a strength of its own: on whole batches, anywhere.

Images are uint8 (N, C, H, W), numbers float64 (N,). Each pixel is computed by itself, and sums are of whole numbers, so
that nothing depends on the batch.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kd_lightning.store.hashing import MASK, fold, scramble

Change = Callable[[Tensor, Tensor], Tensor]  # images and strengths, to images
GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as PIL has it
CENTRE = 4  # by how much more than its neighbours a pixel weighs in what is blurred


def chance(views: Tensor, number: int) -> Tensor:
    """Uniform numbers in [0, 1), one for each view (N,) and number."""
    return scramble(scramble(views & MASK) ^ fold(number)).double() / 2**32


def one_of(changes: Sequence[Change], chosen: Tensor, images: Tensor, strengths: Tensor) -> Tensor:
    """Each image changed in one of the ways, as `chosen` (N,) says; nothing waits for a device."""
    made = images
    if images.device.type == "cpu":
        made = images.clone()
        for number, change in enumerate(changes):
            rows = (chosen == number).nonzero().flatten()
            if len(rows):
                made[rows] = change(images[rows], strengths[rows])
        return made
    for number, change in enumerate(changes):
        made = torch.where(_of_images(chosen == number), change(images, strengths), made)
    return made


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Times a factor."""
    return images.float().mul_(_of_images(factors).float()).clamp_(0, 255).to(torch.uint8)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """As far from grey as the factor says; images of one channel stay."""
    return images if images.shape[1] != len(GREY) else _blended(images, _grey(images), factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """As far from their mean of grey as the factor says."""
    grey = _grey(images)
    mean = grey.sum(dim=(1, 2, 3), dtype=torch.int64).double() / grey[0].numel()
    return _blended(images, _of_images(mean), factors)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """As far from a blur over 3x3 pixels as the factor says; the border stays."""
    height, width = images.shape[2:]
    if min(height, width) < 3:
        return images
    whole = images.to(torch.int16)
    total = CENTRE * whole[..., 1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total = total + whole[..., row : height - 2 + row, column : width - 2 + column]
    weights = CENTRE + 9
    made = images.clone()
    blurred = (total + weights // 2).float().div_(weights).floor_()
    made[..., 1:-1, 1:-1] = _blended(images[..., 1:-1, 1:-1], blurred, factors)
    return made


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """So many of the highest bits of each pixel."""
    kept = 2**8 - torch.pow(2.0, 8 - bits.clamp(0, 8))
    return images & _of_images(kept).to(torch.uint8)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Inverted from a threshold on."""
    return torch.where(images >= _of_images(thresholds), 255 - images, images)


def shear_x(images: Tensor, slopes: Tensor) -> Tensor:
    """About the top left corner, as `shear_y`."""
    return _resampled(images, (1.0, slopes, 0.0), (0.0, 1.0, 0.0))


def shear_y(images: Tensor, slopes: Tensor) -> Tensor:
    return _resampled(images, (1.0, 0.0, 0.0), (slopes, 1.0, 0.0))


def translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    """By whole pixels, as `translate_y`."""
    return _resampled(images, (1.0, 0.0, pixels.trunc()), (0.0, 1.0, 0.0))


def translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    return _resampled(images, (1.0, 0.0, 0.0), (0.0, 1.0, pixels.trunc()))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """About the centre."""
    height, width = images.shape[2:]
    x, y, angle = width / 2, height / 2, degrees * (math.pi / 180)
    sine, cosine = angle.sin(), angle.cos()
    columns = (cosine, -sine, x - cosine * x + sine * y)
    return _resampled(images, columns, (sine, cosine, y - sine * x - cosine * y))


def same(images: Tensor, _: Tensor) -> Tensor:
    """The images as they are."""
    return images


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """From the darkest to the lightest pixel of each channel."""
    return F.autocontrast(images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Each channel's histogram made even."""
    return F.equalize(images)


Coefficients = tuple[float | Tensor, float | Tensor, float | Tensor]


def _resampled(images: Tensor, columns: Coefficients, rows: Coefficients) -> Tensor:
    """PIL's affine transform: the pixel at (x, y) is the one that holds (a·x + b·y + c, d·x + e·y + f), else black."""
    channels, height, width = images.shape[1:]
    x = torch.arange(width, device=images.device) + 0.5
    y = torch.arange(height, device=images.device)[:, None] + 0.5

    def place(by_x: float | Tensor, by_y: float | Tensor, offset: float | Tensor) -> Tensor:
        each = (one.float()[:, None, None] if isinstance(one, Tensor) else one for one in (by_x, by_y, offset))
        of_x, of_y, shift = each
        return (of_x * x + (of_y * y + shift)).floor().int()

    column, row = place(*columns), place(*rows)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixels = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).expand(len(images), height, width)
    pixels = torch.where(inside, pixels, height * width).flatten(1)
    with_black = torch.cat([images.flatten(2), images.new_zeros(len(images), channels, 1)], dim=2)
    if images.device.type == "cpu":
        moved = torch.stack([image.index_select(1, each) for image, each in zip(with_black, pixels, strict=True)])
    else:
        moved = with_black.gather(2, pixels.long()[:, None].expand(-1, channels, -1))
    return moved.view_as(images)


def _grey(images: Tensor) -> Tensor:
    """Of three channels as PIL has it, whole numbers (N, 1, H, W); of others the first."""
    if images.shape[1] != len(GREY):
        return images[:, :1]
    red, green, blue = (images[:, channel, None].float().mul_(part) for channel, part in enumerate(GREY))
    return red.add_(green).add_(blue).to(torch.uint8)


def _blended(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """factor·image + (1 - factor)·other, cut off at 0 and 255 and to whole numbers."""
    factor = _of_images(factors).float()
    return images.float().mul_(factor).add_(others.float().mul(1 - factor)).clamp_(0, 255).to(torch.uint8)


def _of_images(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
