"""A folder of photos as it lies about: classes in the files' names, one of them rare, and files that are none."""

import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from PIL import Image

from tests.conftest import SHARED

COUNTS = {"animal": 24, "food": 8, "thing": 24}
UNREADABLE = ("animal_025.jpg", "thing_025.jpg")


def photo_folder(folder: Path) -> None:
    """JPEGs of ImageNet, or made-up ones where they are missing; beside them what cameras and desktops leave behind."""
    folder.mkdir()
    jpegs = real() if SHARED.is_dir() else made_up()
    for kind, count in COUNTS.items():
        for number, jpeg in enumerate(jpegs[kind][:count], 1):
            (folder / f"{kind}_{number:03}.jpg").write_bytes(jpeg)
    with Image.open(folder / "thing_001.jpg") as image:  # a camera that was held upright
        exif = Image.Exif()
        exif[0x0112] = 6
        image.rotate(90, expand=True).save(folder / "thing_001.jpg", exif=exif)
    with Image.open(folder / "food_001.jpg") as image:
        image.convert("L").save(folder / "food_001.jpg")
    with Image.open(folder / "animal_001.jpg") as image:
        image.convert("RGBA").resize((96, 64)).save(folder / "animal_001.png")
    (folder / "animal_001.jpg").unlink()
    cut, empty = (folder / name for name in UNREADABLE)
    cut.write_bytes(jpegs["animal"][0][:-2000])
    empty.write_bytes(b"")
    (folder / "notes.txt").write_text("taken in spring")
    (folder / ".DS_Store").write_bytes(b"\0" * 16)
    (folder / "Thumbs.db").write_bytes(b"\0" * 16)


def real() -> dict[str, list[bytes]]:
    """Those of each class, by the numbers of WordNet in their names."""
    begins = {"animal": "n01", "food": "n07", "thing": "n03"}
    with ZipFile(SHARED / "data" / "imagenet-sample.zip") as zipped:
        names = sorted(zipped.namelist())
        return {kind: [zipped.read(one) for one in names if one.startswith(begins[kind])] for kind in COUNTS}


def made_up() -> dict[str, list[bytes]]:
    """Noise of a colour for each class."""
    draws = np.random.default_rng(0)
    colours = {"animal": (90, 120, 60), "food": (200, 90, 40), "thing": (110, 110, 150)}
    return {kind: [jpeg_of(draws, colours[kind]) for _ in range(count)] for kind, count in COUNTS.items()}


def jpeg_of(draws: np.random.Generator, colour: tuple[int, int, int]) -> bytes:
    pixels = draws.normal(colour, 40, size=(96, 128, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()
