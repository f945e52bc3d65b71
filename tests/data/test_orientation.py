"""Photographs that EXIF says were taken on their side: seen upright, in training and in evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from kd_lightning.data.folders.crops import training_image
from kd_lightning.data.folders.images import ORIENTATION, Encoded, open_rgb
from tests.data.test_decoding import photograph

CROP = 24


def taken(path: Path, orientation: int, size: tuple[int, int] = (208, 144), **options: object) -> Path:
    """A photograph whose pixels lie as a camera wrote them that was held this way."""
    image = photograph(*size)
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    image.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_an_image_is_upright(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = taken(tmp_path / f"photo.{suffix}", orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert np.array_equal(open_rgb(path), expected)
    assert np.array_equal(open_rgb(Encoded(path.read_bytes(), "photo")), expected)
    upright = tmp_path / "upright.png"
    Image.fromarray(expected).save(upright)
    for view in range(8):  # of a JPEG small crops are decoded at a reduced scale
        gap = training_image(path, CROP, 0, view).float() - training_image(upright, CROP, 0, view).float()
        assert gap.abs().mean() < 2


def test_the_rest_of_exif_turns_nothing(tmp_path: Path) -> None:
    image = photograph(64, 48)
    exif = image.getexif()
    exif[271], exif[ORIENTATION] = "a camera", 9
    image.save(tmp_path / "photo.jpg", exif=exif)
    image.save(tmp_path / "plain.jpg")
    assert np.array_equal(open_rgb(tmp_path / "photo.jpg"), open_rgb(tmp_path / "plain.jpg"))


def test_damaged_exif_costs_no_image(tmp_path: Path) -> None:
    path = taken(tmp_path / "photo.jpg", 6)
    data = bytearray(path.read_bytes())
    start = data.index(b"Exif\0\0") + 6
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    assert open_rgb(path).size == (208, 144)
    assert training_image(path, CROP, 0, 0).dtype == torch.uint8
