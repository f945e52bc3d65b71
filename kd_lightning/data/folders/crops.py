"""Random resized crops of image files, each a pure function of (index, view)."""

import math

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from kd_lightning.data.folders.images import (
    File,
    as_rgb,
    bytes_of,
    in_8_bits,
    is_on_its_side,
    jpeg_orientation,
    jpeg_size,
    opened,
    orientation_of,
    upright,
    upright_pixels,
)
from kd_lightning.store.hashing import fold

SCALE = (0.08, 1.0)  # of the image's area
RATIO = (3 / 4, 4 / 3)  # width to height
ATTEMPTS = 10
REDUCTIONS = (8, 4, 2)  # the scales at which a JPEG decodes for less, the smallest first


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


def training_image(file: File, size: int, index: int, view: int) -> Tensor:
    """Random resized crop and flip of a file: uint8 (3, size, size). Raises UserError naming one that is no image.

    libjpeg-turbo by itself, without Pillow around it, gives the same pixels of a JPEG in three quarters of the time.
    """
    chances = draws(index, view)
    try:
        crop = crop_of_jpeg(bytes_of(file), chances, size)
    except (OSError, ValueError):  # Pillow decodes all else, or says what is wrong
        with opened(file) as image:
            crop = crop_of_image(image, chances, size)
    return crop.flip(-1) if chances[-1] < 0.5 else crop


def crop_of_jpeg(data: bytes, chances: list[float], size: int) -> Tensor:
    """Decode at the smallest scale at which the crop still has `size` pixels a side: uint8 (3, size, size)

    Raises ValueError where the data are no JPEG in grey or colour, or a damaged one.
    """
    image_height, image_width = jpeg_size(data)
    orientation = jpeg_orientation(data)
    sides = (image_width, image_height) if is_on_its_side(orientation) else (image_height, image_width)
    top, left, height, width = crop_box(*sides, chances)
    reduction = next((scale for scale in REDUCTIONS if min(height, width) >= scale * size), 1)
    pixels = simplejpeg.decode_jpeg(
        data, min_height=image_height // reduction, min_width=image_width // reduction, min_factor=reduction
    )
    pixels = upright_pixels(pixels, orientation)
    if reduction == 1:
        return resized(pixels[top : top + height, left : left + width], size)
    edges = (left / reduction, top / reduction, (left + width) / reduction, (top + height) / reduction)
    # Pillow takes edges between two pixels.
    crop = Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.BILINEAR, box=edges)
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1)


def crop_of_image(image: Image.Image, chances: list[float], size: int) -> Tensor:
    """The same of any image that Pillow has opened, decoded in full: uint8 (3, size, size)"""
    image.load()
    whole = upright(in_8_bits(image), orientation_of(image))
    top, left, height, width = crop_box(whole.height, whole.width, chances)
    crop = whole.crop((left, top, left + width, top + height))
    return resized(np.array(as_rgb(crop)), size)


def resized(pixels: np.ndarray, size: int) -> Tensor:
    """As Pillow's bilinear filter, antialiased, but for rounding, in less than half the time: (H, W, 3) to (3, S, S)"""
    channels_last = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return interpolate(channels_last, (size, size), mode="bilinear", antialias=True)[0]
