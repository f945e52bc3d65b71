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
DECODING = 2  # raise it where a view's pixels change, so that a teacher is asked anew about them


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
            return as_rgb(image)


def evaluation_image(image: Image.Image, size: int, resize: int) -> Tensor:
    """Short side to `resize`, then the centre: uint8 (3, size, size)"""
    return F.pil_to_tensor(F.center_crop(F.resize(image, [resize]), [size, size]))
