"""Image files, decoded to RGB as they were held before the camera; and what evaluation shows of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import functional as F

from kd_lightning.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
DECODING = 4  # raise it where a view's pixels change, so that a teacher is asked anew about them
BITS_PER_SAMPLE = 258  # a TIFF's tag
ORIENTATION = 274  # a tag of EXIF, 1 to 8
TURNED = {  # what makes an image upright, by its orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF, EXIF_WITHIN = b"Exif\0\0", 2**16  # how it begins in a JPEG, and in how many bytes


@dataclass(frozen=True)
class Encoded:
    """An image file's bytes, from wherever they were read, and what messages call it."""

    data: bytes
    name: str


File = Path | Encoded


def bytes_of(file: File) -> bytes:
    """Raises OSError where it cannot be read."""
    return file.read_bytes() if isinstance(file, Path) else file.data


def has_content(file: File) -> bool:
    return file.stat().st_size > 0 if isinstance(file, Path) else len(file.data) > 0


def name_of(file: File) -> str:
    return str(file) if isinstance(file, Path) else file.name


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
def opened(file: File) -> Iterator[Image.Image]:
    """An image to decode within. Raises UserError naming the file where it is, or proves to be, no readable image."""
    name = name_of(file)
    try:
        with Image.open(file if isinstance(file, Path) else BytesIO(file.data)) as image:
            yield image
    except UnidentifiedImageError:
        reason = "it is in no format of images that is known" if has_content(file) else "it is empty"
        raise UserError(f"data.root: {name} cannot be read as an image ({reason}); replace or remove it") from None
    except Exception as error:  # a damaged file can raise anything
        reason = " ".join(str(error).replace(repr(name), "it").split()) or type(error).__name__
        raise UserError(f"data.root: {name} cannot be read as an image ({reason}); replace or remove it") from None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG in grey or colour. Raises ValueError where the data are no such, or damaged."""
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    if colors in ("CMYK", "YCCK"):
        raise ValueError(f"{colors} is for print")  # libjpeg-turbo would make other colours of it than Pillow
    return height, width


def jpeg_orientation(data: bytes) -> int:
    """How a JPEG's pixels lie, 1 to 8 as EXIF counts; 1, upright, where it does not say."""
    if data.find(EXIF, 0, EXIF_WITHIN) < 0:
        return 1
    with Image.open(BytesIO(data)) as image:
        return orientation_of(image)


def orientation_of(image: Image.Image) -> int:
    """The same of any image that Pillow has opened."""
    if image.format == "TIFF":  # which Pillow turns by itself
        return 1
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF can raise anything, and the pixels may be whole
        return 1
    return found if found in TURNED else 1


def is_on_its_side(orientation: int) -> bool:
    """Whether height and width change places in an upright image."""
    return orientation >= 5


def upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNED[orientation]) if orientation in TURNED else image


def upright_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The same of pixels (H, W, C)."""
    if is_on_its_side(orientation):
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def open_rgb(file: File) -> Image.Image:
    """Decode one file, upright. Raises UserError naming it where it is no readable image."""
    try:
        data = bytes_of(file)
        jpeg_size(data)
        return upright(Image.fromarray(simplejpeg.decode_jpeg(data)), jpeg_orientation(data))
    except (OSError, ValueError):  # Pillow decodes all else, or says what is wrong
        with opened(file) as image:
            image.load()
            return upright(as_rgb(in_8_bits(image)), orientation_of(image))


def evaluation_image(image: Image.Image, size: int, resize: int) -> Tensor:
    """Short side to `resize`, then the centre: uint8 (3, size, size)"""
    return F.pil_to_tensor(F.center_crop(F.resize(image, [resize]), [size, size]))
