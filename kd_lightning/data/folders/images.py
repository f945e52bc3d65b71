"""Image files, decoded to RGB; and what evaluation shows of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as F

from kd_lightning.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
DECODING = 3  # raise it where a view's pixels change, so that a teacher is asked anew about them
BITS_PER_SAMPLE = 258  # a TIFF's tag


def in_8_bits(image: Image.Image) -> Image.Image:
    """A whole image with 8 bits a channel; one that has them is returned as it is.

    Of 12 and 16 bits, 0 is black and the largest number white; of floats, 0 and 1. Raises ValueError for other floats,
    and for 32-bit whole numbers, of which no file says what is white.
    """
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # nor with NaN
            raise ValueError(f"floats from {values.min():g} to {values.max():g}; scale it: 0 is black and 1 white")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if not image.mode.startswith("I"):
        return image
    if image.mode == "I" and image.format not in ("PNG", "PPM"):  # these two have 16 bits in it
        raise ValueError("32-bit whole numbers, of which none is known to be white; save it in 8 or 16 bits")
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    return Image.fromarray(np.rint(np.asarray(image).clip(0, 2**bits - 1) / ((2**bits - 1) / 255)).astype(np.uint8))


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of 8 bits a channel as RGB; transparency is dropped."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image to decode within. Raises UserError naming the file where it is, or proves to be, no readable image."""
    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # a damaged file can raise anything
        reason = " ".join(str(error).replace(f"{str(path)!r}", "it").split()) or type(error).__name__
        raise UserError(f"data.root: {path} cannot be read as an image ({reason}); replace or remove it") from None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG in grey or colour. Raises ValueError where the data are no such, or damaged."""
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    if colors in ("CMYK", "YCCK"):
        raise ValueError(f"{colors} is for print")  # libjpeg-turbo would make other colours of it than Pillow
    return height, width


def open_rgb(path: Path) -> Image.Image:
    """Decode one file. Raises UserError naming it where it is no readable image."""
    try:
        data = path.read_bytes()
        jpeg_size(data)
        return Image.fromarray(simplejpeg.decode_jpeg(data))
    except (OSError, ValueError):  # Pillow decodes all else, or says what is wrong
        with opened(path) as image:
            image.load()
            return as_rgb(in_8_bits(image))


def evaluation_image(image: Image.Image, size: int, resize: int) -> Tensor:
    """Short side to `resize`, then the centre: uint8 (3, size, size)"""
    return F.pil_to_tensor(F.center_crop(F.resize(image, [resize]), [size, size]))
