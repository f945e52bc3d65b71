"""What decoding at a reduced scale may change of a crop, and what not."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.transforms import functional as F

from kd_lightning.data.folders.crops import crop_box, draws, training_image
from kd_lightning.data.folders.images import as_rgb, in_8_bits, open_rgb
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


RAMP = np.linspace(0, 1, 64).reshape(8, 8)
WIDE = {  # a grey ramp in more than 8 bits: the largest number of each is white
    "float32.tif": RAMP.astype(np.float32),
    "uint16.tif": np.rint(RAMP * 65535).astype(np.uint16),
    "uint16.png": np.rint(RAMP * 65535).astype(np.uint16),
    "uint16.pgm": np.rint(RAMP * 65535).astype(np.uint16),
    "big_endian.tif": np.rint(RAMP * 65535).astype(">u2"),
}


@pytest.mark.parametrize("name", WIDE)
def test_more_than_8_bits_are_scaled_to_8(name, tmp_path):
    path = tmp_path / name
    if path.suffix == ".pgm":  # which an older Pillow reads and does not write
        path.write_bytes(b"P5 %d %d 65535\n" % RAMP.shape[::-1] + WIDE[name].astype(">u2").tobytes())
    else:
        Image.fromarray(WIDE[name]).save(path)
    assert np.array_equal(np.asarray(open_rgb(path)), np.repeat(np.rint(RAMP * 255)[..., None], 3, -1))
    whole = Image.fromarray(np.rint(RAMP * 255).astype(np.uint8)).convert("RGB")
    whole.save(tmp_path / "whole.png")
    for view in range(10):  # a crop of it is scaled as the whole, however dark it is
        assert torch.equal(training_image(path, 4, 0, view), training_image(tmp_path / "whole.png", 4, 0, view))


def test_a_tiff_of_12_bits_is_white_at_4095():
    image = Image.fromarray(np.full((2, 2), 4095, np.uint16))
    image.tag_v2 = {258: (12,)}
    assert np.asarray(as_rgb(in_8_bits(image))).min() == 255


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((8, 8), 200, np.int32), "32-bit whole numbers"),
        (np.full((8, 8), 2**31 - 1, np.int32), "32-bit whole numbers"),
        ((RAMP * 255).astype(np.float32), "floats from 0 to 255; scale it"),
        ((RAMP - 0.5).astype(np.float32), "floats from -0.5 to 0.5"),
        (np.full((8, 8), np.nan, np.float32), "floats from nan"),
    ],
)
def test_numbers_whose_white_is_not_known_are_refused(pixels, words, tmp_path):
    path = tmp_path / "wide.tif"
    Image.fromarray(pixels).save(path)
    for read in (open_rgb, lambda file: training_image(file, 4, 0, 0)):
        with pytest.raises(UserError, match=words) as error:
            read(path)
        assert str(error.value).startswith(f"data.root: {path} cannot be read as an image")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp", "ppm", "jpg"])
def test_a_damaged_file_is_read_or_named(suffix, tmp_path):
    path, chance = tmp_path / f"photo.{suffix}", np.random.default_rng(0)
    photograph(32, 32).save(path)
    good = path.read_bytes()
    refused = []
    for _ in range(40):
        damaged = bytearray(good)
        for place in chance.integers(0, min(len(good), 200), 3):
            damaged[place] = chance.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            assert training_image(path, 8, 0, 0).shape == (3, 8, 8)
        except UserError as error:
            refused.append(str(error))
    assert refused
    assert all(str(path) in text for text in refused)
