"""Image folders decoded once into a file of pixels: what they show, when the file serves again, and what stops it."""

import os
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.data import CropFlip, ImageFolderDataModule, SmallFolderDataModule, view_of
from kd_lightning.data.folders.decoded import decoded
from kd_lightning.data.folders.files import FileImages
from kd_lightning.errors import UserError


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight images to train on, eight to test."""
    folder = tmp_path / "photos"
    for seed, (split, name, i) in enumerate(
        (s, n, i) for s in ("train", "val") for n in ("ant", "bee") for i in range(4)
    ):
        picture(folder / split / name / f"{i}.png", seed)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def module(root: Path, cache: Path, **options) -> SmallFolderDataModule:
    small = {"image_size": 16, "resize_size": 20, "batch_size": 3, "val_fraction": 0.0, "augment": CropFlip(2)}
    return SmallFolderDataModule(root=root, cache=cache, **{**small, **options})


@dataclass
class Counted(FileImages):
    """Files that know which of them were decoded."""

    rows: list[int] = field(default_factory=list)

    def one(self, row: int, view: int | None) -> torch.Tensor:
        self.rows.append(row)
        return super().one(row, view)


def counted(root: Path, size: int = 16) -> Counted:
    files = sorted(str(path.relative_to(root / "train")).encode() for path in (root / "train").rglob("*.png"))
    return Counted(root / "train", np.array(files), torch.tensor([0] * 4 + [1] * 4), size, size)


def test_pixels_are_those_that_evaluation_of_the_folder_shows(root, cache):
    data = module(root, cache)
    data.setup()
    folder = ImageFolderDataModule(root=root, image_size=16, resize_size=20, val_fraction=0)
    folder.setup()
    rows = torch.arange(8)
    for part in ("train_set", "test_set"):
        here, there = getattr(data, part), getattr(folder, part)
        assert torch.equal(here.images.read(rows, None), there.images.read(rows, None))
        assert torch.equal(here.targets, there.targets)


def test_training_batches_are_the_augmented_views_of_the_pixels(root, cache):
    data = module(root, cache, seed=5)
    data.setup()
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)
    seen = []
    for batch in map(data.on_after_batch_transfer, loader):
        assert torch.equal(batch["view"], view_of(5, 3, batch["index"], 50))
        expected = CropFlip(2)(data.train_set.images.images[batch["index"]], batch["view"])
        assert torch.equal(batch["input"], expected.float() / 255)
        seen += batch["index"].tolist()
    assert sorted(seen) == list(range(8))
    assert "view" not in next(iter(data.test_dataloader()))


def test_files_are_decoded_once(root, cache):
    first, again = counted(root), counted(root)
    pixels = decoded(first, cache).images
    assert sorted(first.rows) == list(range(8))
    assert torch.equal(decoded(again, cache).images, pixels)
    assert not again.rows


def test_those_who_come_at_the_same_time_wait(root, cache):
    both = [counted(root), counted(root)]
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda files: decoded(files, cache).images, both)
    assert sorted(both[0].rows + both[1].rows) == list(range(8))
    assert torch.equal(one, other)


def test_a_changed_file_or_size_is_decoded_anew(root, cache):
    pixels = decoded(counted(root), cache).images
    os.utime(root / "train" / "ant" / "0.png", (1, 1))
    touched = counted(root)
    assert torch.equal(decoded(touched, cache).images, pixels)
    assert touched.rows
    picture(root / "train" / "ant" / "0.png", seed=99)
    changed = decoded(counted(root), cache).images
    assert [bool((a == b).all()) for a, b in zip(changed, pixels, strict=True)] == [False] + [True] * 7
    assert decoded(counted(root, size=8), cache).images.shape == (8, 3, 8, 8)


@pytest.mark.parametrize("left", [0, 50, 128, 2000])
def test_pixels_cut_short_are_decoded_anew(left, root, cache):
    pixels = decoded(counted(root), cache).images.clone()
    (file,) = cache.rglob("pixels.npy")
    file.write_bytes(file.read_bytes()[:left])
    assert torch.equal(decoded(counted(root), cache).images, pixels)


def test_a_broken_image_is_named_and_leaves_nothing(root, cache):
    broken = root / "train" / "bee" / "1.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:500])
    data = module(root, cache)
    with pytest.raises(UserError) as error:
        data.setup()
    assert one_line(error.value).startswith(f"data.root: {broken} cannot be read")
    assert not [path for path in cache.rglob("*") if path.suffix != ".lock" and path.name != "images"]
    broken.write_bytes(good)
    data.setup()


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """The system refuses to write more into a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_told_and_leaves_nothing(root, cache):
    data = module(root, cache, image_size=200, resize_size=200)
    with no_file_above(500_000), pytest.raises(UserError) as error:
        data.setup()
    assert str(error.value).startswith(f"data.cache={cache}: cannot keep 1 MB of decoded images there (File too large)")
    assert not list(cache.rglob("*.npy"))
    data.setup()


def test_a_cache_that_is_no_folder_is_told(root, cache):
    cache.write_text("")
    with pytest.raises(UserError, match=rf"^data.cache={cache}: cannot keep 0 MB"):
        module(root, cache).setup()


def test_the_fingerprint_follows_the_pixels_not_the_place(root, cache, tmp_path):
    base = module(root, cache).fingerprint()
    shutil.copytree(root, tmp_path / "copy")
    assert module(tmp_path / "copy", tmp_path / "elsewhere").fingerprint() == base
    assert module(root, cache, augment=None).fingerprint() != base
    for split in ("val", "train"):
        picture(root / split / "bee" / "3.png", seed=77)
        assert module(root, cache).fingerprint() != base
        shutil.copy(tmp_path / "copy" / split / "bee" / "3.png", root / split / "bee" / "3.png")
    assert module(root, cache).fingerprint() == base
    shutil.copytree(root / "val", root / "test")
    with_validation = module(root, cache).fingerprint()
    picture(root / "val" / "bee" / "3.png", seed=77)
    assert module(root, cache).fingerprint() != with_validation


def test_the_folder_is_checked_as_any(root, cache):
    (root / "train" / "cat").mkdir()
    with pytest.raises(UserError, match="class cat stands in train/ but not in val/"):
        module(root, cache).check()


def test_real_photographs(photographs, tmp_path):
    data = SmallFolderDataModule(root=photographs, cache=tmp_path / "cache", batch_size=4, val_fraction=0)
    data.setup()
    batches = [data.on_after_batch_transfer(batch)["input"] for batch in data.train_dataloader()]
    assert [tuple(images.shape) for images in batches] == [(4, 3, 64, 64)] * 2
    assert 0.2 < torch.cat(batches).mean() < 0.8
