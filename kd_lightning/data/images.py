"""Image files to uint8 tensors of one size, for training and for evaluation."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import functional as F

from kd_lightning.data.views import fold
from kd_lightning.errors import UserError

SCALE = (0.08, 1.0)  # of the image's area
RATIO = (3 / 4, 4 / 3)  # width to height
ATTEMPTS = 10
SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
DECODING = 2  # raise it where a view's pixels change, so that a teacher is asked anew about them
REDUCTIONS = (8, 4, 2)  # the scales at which a JPEG decodes for less, the smallest first


def as_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit grey keeps its range, transparency is dropped."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image to decode within. Raises UserError naming the file where it is, or proves to be, no readable image."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(f"{str(path)!r}", "it").split())
        raise UserError(f"data.root: {path} cannot be read as an image ({reason}); replace or remove it") from None


def open_rgb(path: Path) -> Image.Image:
    """Decode one file. Raises UserError naming it where it is no readable image."""
    with opened(path) as image:
        image.load()
        return as_rgb(image)


def draws(index: int, view: int) -> list[float]:
    """The numbers in [0, 1) that decide one view of one image: four for each attempt at a crop, one for the flip."""
    return torch.rand(4 * ATTEMPTS + 1, generator=torch.Generator().manual_seed(fold(index, view))).tolist()


def crop_box(height: int, width: int, chances: list[float]) -> tuple[int, int, int, int]:
    """top, left, height and width of a crop, distributed as torchvision's RandomResizedCrop draws it.

    The first attempt that fits counts: its area uniform in SCALE, its ratio log-uniform in RATIO, its place uniform.
    Else the largest crop at the centre whose ratio is in RATIO.
    """
    for attempt in range(ATTEMPTS):
        for_area, for_ratio, for_top, for_left = chances[4 * attempt : 4 * attempt + 4]
        area = height * width * (SCALE[0] + for_area * (SCALE[1] - SCALE[0]))
        ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** for_ratio
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(for_top * (height - h + 1)), int(for_left * (width - w + 1)), h, w
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def training_image(image: Image.Image, size: int, index: int, view: int) -> Tensor:
    """Random resized crop and flip as a pure function of (index, view): uint8 (3, size, size)"""
    chances = draws(index, view)
    cropped = resized_crop(image, crop_box(image.height, image.width, chances), size)
    return cropped.flip(-1) if chances[-1] < 0.5 else cropped


def resized_crop(image: Image.Image, box: tuple[int, int, int, int], size: int) -> Tensor:
    """Cut out top, left, height and width, then resize with antialiasing: uint8 (3, size, size)

    A JPEG not yet decoded is decoded at the smallest scale at which the crop still has `size` pixels a side.
    """
    top, left, height, width = box
    edges = (left, top, left + width, top + height)
    reduction = next((scale for scale in REDUCTIONS if min(height, width) >= scale * size), 1)
    if reduction > 1 and image.draft(None, (image.width // reduction, image.height // reduction)):
        place = (edges[0] / reduction, edges[1] / reduction, edges[2] / reduction, edges[3] / reduction)
        return F.pil_to_tensor(as_rgb(image).resize((size, size), Image.Resampling.BILINEAR, box=place))
    # As Pillow's bilinear filter, but for rounding, in less than half the time.
    pixels = np.array(as_rgb(image.crop(edges)))
    channels_last = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return interpolate(channels_last, (size, size), mode="bilinear", antialias=True)[0]


def evaluation_image(image: Image.Image, size: int, resize: int) -> Tensor:
    """Short side to `resize`, then the centre: uint8 (3, size, size)"""
    return F.pil_to_tensor(F.center_crop(F.resize(image, [resize]), [size, size]))
