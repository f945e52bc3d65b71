"""What decoding at a reduced scale may change of a crop, and what not."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.transforms import functional as F

from kd_lightning.data.crops import crop_box, draws, training_image
from kd_lightning.data.images import open_rgb
from kd_lightning.errors import UserError

SIZE = 32


def photograph(width: int, height: int) -> Image.Image:
    """Noise without fine detail, of which a crop beside its place differs much."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def at_full_resolution(path: Path, view: int, size: int = SIZE) -> torch.Tensor:
    """torchvision's resized crop of the same box, and flip: float (3, size, size)"""
    image, chances = Image.open(path).convert("RGB"), draws(0, view)
    crop = F.resized_crop(image, *crop_box(image.height, image.width, chances), [size, size])
    return F.pil_to_tensor(F.hflip(crop) if chances[-1] < 0.5 else crop).float()


def as_trained_on(path: Path, view: int, size: int = SIZE) -> torch.Tensor:
    """float (3, size, size)"""
    return training_image(path, size, 0, view).float()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_pixels_of_a_jpeg_are_those_that_pillow_gives(mode, subsampling, progressive, tmp_path):
    path = tmp_path / "photo.jpg"
    photograph(333, 271).convert(mode).save(path, quality=80, subsampling=subsampling, progressive=progressive)
    assert np.array_equal(open_rgb(path), Image.open(path).convert("RGB"))


def test_a_jpeg_with_more_after_its_end_is_read_as_pillow_reads_it(tmp_path):
    path = tmp_path / "photo.jpg"
    photograph(333, 271).save(path)
    path.write_bytes(path.read_bytes() + b"more")
    assert np.array_equal(open_rgb(path), Image.open(path))
    assert as_trained_on(path, 0).shape == (3, SIZE, SIZE)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(322, 271), (90, 517)])
def test_a_reduced_scale_keeps_the_crop_in_its_place(mode, size, tmp_path):
    path = tmp_path / "photo.jpg"
    photograph(*size).convert(mode).save(path, quality=95)
    for view in range(20):
        expected = at_full_resolution(path, view)
        one_pixel_beside = expected.diff(dim=-1).abs().mean()
        assert (as_trained_on(path, view) - expected).abs().mean() < one_pixel_beside / 5


@pytest.mark.parametrize(("name", "size"), [("small.jpg", (60, 60)), ("large.png", (320, 256))])
def test_what_is_not_reduced_differs_by_rounding_alone(name, size, tmp_path):
    photograph(*size).save(tmp_path / name)
    for view in range(20):
        gap = as_trained_on(tmp_path / name, view) - at_full_resolution(tmp_path / name, view)
        assert gap.abs().max() <= 1


def test_an_orientation_in_the_file_counts_for_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(320, 256).save(tmp_path / "turned.jpg", exif=exif)
    photograph(320, 256).save(tmp_path / "plain.jpg")
    for view in range(5):
        assert torch.equal(as_trained_on(tmp_path / "turned.jpg", view), as_trained_on(tmp_path / "plain.jpg", view))


def test_a_file_cut_short_is_named_at_any_scale(tmp_path):
    path = tmp_path / "short.jpg"
    photograph(640, 512).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:6000])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    for view in range(5):
        with pytest.raises(UserError, match=f"{path} cannot be read") as error:
            as_trained_on(path, view)
        assert "\n" not in str(error.value)


def test_real_photographs_keep_40_decibels(shared, tmp_path):
    errors = []
    with ZipFile(shared / "data" / "imagenet-sample.zip") as zipped:
        for name in sorted(zipped.namelist())[::16]:
            path = Path(zipped.extract(name, tmp_path))
            errors.append((as_trained_on(path, 0, 224) - at_full_resolution(path, 0, 224)).square().mean())
    assert 10 * torch.log10(255**2 / torch.stack(errors).mean()) > 40
