"""Image folders: the layouts, views decoded in worker processes, odd and broken files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.data import ImageFolderDataModule
from kd_lightning.data.folders.images import open_rgb
from kd_lightning.errors import UserError


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def tree(root: Path, *splits: str, classes: tuple[str, ...] = ("ant", "bee"), each: int = 4) -> Path:
    seed = 0
    for split in splits:
        for name in classes:
            for i in range(each):
                picture(root / split / name / f"{i}.png", seed := seed + 1)
    return root


def module(root: Path | None, **options) -> ImageFolderDataModule:
    small = {"image_size": 16, "resize_size": 20, "batch_size": 3, "val_fraction": 0.0}
    return ImageFolderDataModule(root=root, **{**small, **options})


def message(action) -> str:
    with pytest.raises(UserError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_classes_are_the_folders_by_name(tmp_path):
    data = module(tree(tmp_path, "train", "val", classes=("wolf", "ant", "bee")))
    assert (data.class_names, data.num_classes, data.input_shape) == (["ant", "bee", "wolf"], 3, (3, 16, 16))
    data.setup()
    assert data.train_set.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("splits", "fraction", "sizes", "validates_on"),
    [
        (("train", "val"), 0.0, (8, 8, 8), "test"),
        (("train", "val"), 0.25, (6, 2, 8), "validation"),
        (("train", "test"), 0.25, (6, 2, 8), "validation"),
        (("train", "val", "test"), 0.25, (8, 8, 8), "validation"),
        (("train", "val", "test"), 0.0, (8, 8, 8), "validation"),
    ],
)
def test_which_split_is_what(splits, fraction, sizes, validates_on, tmp_path):
    data = module(tree(tmp_path, *splits), val_fraction=fraction)
    data.check()
    data.setup()
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == sizes
    assert data.validates_on == validates_on
    if len(splits) == 3:
        assert data.val_set.images.root.name == "val"
        assert data.test_set.images.root.name == "test"


def test_an_unlabelled_test_folder_counts_as_none(tmp_path):
    picture(tree(tmp_path, "train", "val") / "test" / "0.png")
    data = module(tmp_path)
    data.setup()
    assert data.test_set.images.root.name == "val"


def epoch(data: ImageFolderDataModule, number: int) -> dict[int, torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    out = {}
    for batch in map(data.on_after_batch_transfer, loader):
        assert batch["input"].dtype == torch.float32
        out.update(zip(batch["index"].tolist(), batch["input"], strict=True))
    return out


def test_crops_do_not_depend_on_workers_but_on_the_epoch(tmp_path):
    tree(tmp_path, "train", "val")
    seen = {}
    for workers, batch_size in ((0, 3), (2, 5)):
        data = module(tmp_path, num_workers=workers, batch_size=batch_size, seed=4)
        data.setup()
        seen[workers] = [epoch(data, number) for number in (0, 1)]
    for here, there in zip(seen[0], seen[2], strict=True):
        assert here.keys() == there.keys() == set(range(8))
        assert all(torch.equal(here[i], there[i]) for i in here)
    first, second = seen[0]
    assert not any(torch.equal(first[i], second[i]) for i in first)


def test_with_few_views_crops_come_back(tmp_path):
    data = module(tree(tmp_path, "train", "val"), views=2)
    data.setup()
    crops = {(i, tuple(image.flatten().tolist())) for n in range(12) for i, image in epoch(data, n).items()}
    assert len(crops) == 16  # two for each of the eight images


def test_evaluation_is_torchvisions_resize_and_centre_crop(tmp_path):
    data = module(tree(tmp_path, "train", "val"))
    data.setup()
    (batch,) = list(data.test_dataloader())
    usual = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(16), transforms.PILToTensor()])
    paths = sorted((tmp_path / "val").rglob("*.png"))
    expected = torch.stack([usual(Image.open(path).convert("RGB")) for path in paths])
    assert torch.equal(batch["input"], expected)
    assert "view" not in batch


def test_the_fingerprint_follows_the_files(tmp_path):
    def fingerprint(**options) -> dict:
        return module(tmp_path, **options).fingerprint()

    tree(tmp_path, "train", "val")
    base = fingerprint()
    assert fingerprint(seed=3, num_workers=2) == base
    assert fingerprint(views=10) != base
    assert fingerprint(resize_size=24) != base
    picture(tmp_path / "train" / "ant" / "extra.png")
    assert fingerprint() != base


def save(path: Path, mode: str) -> np.ndarray:
    """Write a 4x4 image of a mode; the RGB it should read as."""
    grey = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)
    rgb = np.stack([grey, grey[::-1], grey.T], -1)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    elif mode == "L":
        Image.fromarray(grey).save(path)
    elif mode == "LA":
        Image.fromarray(np.stack([grey, grey], -1)).save(path)
    elif mode == "1":
        Image.fromarray(grey > 99).save(path)
    elif mode == "RGBA":
        Image.fromarray(np.concatenate([rgb, grey[..., None]], -1)).save(path)
    elif mode == "P":
        Image.fromarray(rgb).quantize(256).save(path, transparency=b"\x00\x80")
    elif mode == "CMYK":
        Image.fromarray(rgb).convert("CMYK").save(path)
    if mode == "1":
        return np.repeat(np.where(grey > 99, 255, 0)[..., None], 3, -1)
    return rgb if mode in ("RGBA", "P", "CMYK") else np.repeat(grey[..., None], 3, -1)


@pytest.mark.parametrize(
    "file", ["L.png", "LA.png", "1.png", "I;16.png", "I;16.tiff", "P.png", "RGBA.png", "CMYK.tiff"]
)
@pytest.mark.filterwarnings("error")
def test_any_mode_becomes_rgb(file, tmp_path):
    path = tmp_path / file
    expected = save(path, mode=path.stem)
    image = open_rgb(path)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), expected)


def test_a_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    red, green, blue = np.asarray(open_rgb(tmp_path / "red.jpg"))[4, 4].astype(int)
    assert red > 240
    assert green < 15
    assert blue < 15


def broken(path: Path, how: str) -> Path:
    if how == "text":
        path.write_text("no image")
    elif how == "empty":
        path.write_bytes(b"")
    else:
        Image.effect_noise((200, 200), 50).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:2000])
    return path


@pytest.mark.parametrize("how", ["text", "empty", "truncated"])
@pytest.mark.parametrize("name", ["broken.jpg", "broken.png"])
def test_a_broken_image_is_named(how, name, tmp_path):
    path = broken(tmp_path / name, how)
    text = message(lambda: open_rgb(path))
    assert str(path) in text
    assert text.startswith("data.root: ")


def test_a_worker_names_the_broken_image_in_the_last_line(tmp_path):
    tree(tmp_path, "train", "val")
    path = broken(tmp_path / "train" / "bee" / "broken.jpg", "truncated")
    data = module(tmp_path, num_workers=1)
    data.setup()
    with pytest.raises(UserError) as error:
        list(data.train_dataloader())
    assert str(path) in str(error.value).strip().splitlines()[-1]
    assert one_line(error.value).startswith(f"data.root: {path} cannot be read")


def test_missing_folders_are_named(tmp_path):
    assert message(module(None).check).startswith("data.root=null: give the folder")
    assert "ImageNet" in message(module(None, name="imagenet").check)
    assert "no such folder" in message(module(tmp_path / "nowhere").check)
    assert "no train/" in message(module(tmp_path).check)
    assert "no train/" in message(lambda: module(tmp_path).num_classes)
    tree(tmp_path, "train")
    assert "no val/" in message(module(tmp_path).check)
    picture(tmp_path / "val" / "0.png")
    assert "val/ holds no class folders" in message(module(tmp_path).check)


def test_a_root_one_level_off_is_told_where_to_go(tmp_path):
    root = tree(tmp_path / "pets", "train", "val")
    for wrong in (root / "train", root / "val", tmp_path):
        text = message(module(wrong).check)
        assert f"data.root={wrong}: no train/ in it; give the folder that holds train/ and val/" in text
        assert text.endswith(f"such as data.root={root}")
    assert message(module(root / "train" / "ant").check).endswith("give the folder that holds train/ and val/")


def test_one_class_is_refused(tmp_path):
    root = tree(tmp_path, "train", "val", classes=("ant",))
    assert f"data.root={root}: one class (ant) is nothing to learn" in message(module(root).check)


def test_an_empty_file_is_named_without_being_read(tmp_path):
    empty = tree(tmp_path, "train", "val") / "val" / "bee" / "3.png"
    empty.write_bytes(b"")
    assert message(module(tmp_path).fingerprint).startswith(f"data.root: {empty} cannot be read as an image (it is em")


def test_odd_class_folders_are_named(tmp_path):
    tree(tmp_path, "train", "val")
    (tmp_path / "train" / "cat").mkdir()
    assert "class cat stands in train/ but not in val/" in message(module(tmp_path).check)
    (tmp_path / "val" / "cat").mkdir()
    assert "class folder train/cat is empty" in message(module(tmp_path).check)
    for split in ("train", "val"):
        (tmp_path / split / "cat" / "notes.txt").write_text("")
    assert "train/cat holds no image" in message(module(tmp_path).setup)
    picture(tmp_path / "train" / "cat" / "deeper" / "0.PNG")
    picture(tmp_path / "val" / "cat" / "0.png")
    data = module(tmp_path)
    data.setup()
    assert len(data.train_set) == 9


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resize_size": 8}, "data.resize_size=8: "),
        ({"image_size": 0}, "data.image_size=0: "),
        ({"views": 0}, "data.views=0: "),
        ({"views": 2**31}, "data.views=2147483648: "),
    ],
)
def test_bad_values_are_named(options, expected, tmp_path):
    assert message(module(tree(tmp_path, "train", "val"), **options).check).startswith(expected)


def test_real_jpegs(photographs):
    data = ImageFolderDataModule(root=photographs, name="imagenet", batch_size=4, num_workers=2, val_fraction=0)
    data.setup()
    batches = [data.on_after_batch_transfer(batch) for batch in data.train_dataloader()]
    assert [tuple(batch["input"].shape) for batch in batches] == [(4, 3, 224, 224)] * 2
    (batch,) = list(data.val_dataloader())
    assert batch["input"].shape == (4, 3, 224, 224)
