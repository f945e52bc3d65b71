"""Augmentations by their names, one after the other: each a pure function of image and view."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from kd_lightning.data import (
    CropFlip,
    DigitsDataModule,
    ImageFolderDataModule,
    InOrder,
    PerImage,
    RandAugment,
    SmallFolderDataModule,
)
from kd_lightning.data.augmentation.in_order import NAMED, Chain, divided
from kd_lightning.errors import UserError
from tests.conftest import Command

IMAGES = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
VIEWS = torch.tensor([0, 1, 2, 3, 4, 2**31 - 2])


class Halved:
    """One of the user's own, of whole batches."""

    num_views = 2

    def __call__(self, images: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        return torch.where(views.view(-1, 1, 1, 1) > 0, images // 2, images)

    def __repr__(self) -> str:
        return "Halved()"


@pytest.mark.parametrize("name", NAMED)
def test_an_image_depends_on_its_view_alone(name: str) -> None:
    (augment,) = InOrder([name]).resolved(CropFlip(), 16)
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    made = augment(IMAGES, VIEWS)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    order = torch.tensor([3, 0, 5])
    assert torch.equal(augment(IMAGES[order], VIEWS[order]), made[order])
    same = augment(IMAGES[:1].expand(40, -1, -1, -1), torch.arange(40))
    assert len(same.flatten(1).unique(dim=0)) > 10  # each view is another variant
    assert augment(IMAGES[:, :1], VIEWS).shape == (6, 1, 16, 16)


def test_a_transform_of_torchvision_draws_from_the_view() -> None:
    transform = v2.RandAugment()
    made = PerImage(transform)(IMAGES, VIEWS)
    for image, view, found in zip(IMAGES, VIEWS.tolist(), made, strict=True):
        torch.manual_seed(view)
        assert torch.equal(transform(image), found)


def test_they_are_applied_in_order_and_divided_where_the_loader_ends() -> None:
    augment = Chain((CropFlip(2), PerImage(v2.RandomErasing(p=1.0, value=9)), Halved()))
    in_loader, on_device = divided(augment)
    assert in_loader is not None
    erased = in_loader(IMAGES, VIEWS)
    assert bool((erased == 9).any())
    made = augment(IMAGES, VIEWS)
    assert torch.equal(on_device(erased, VIEWS), made)
    assert all(torch.equal(one, whole) or torch.equal(one, whole // 2) for one, whole in zip(made, erased, strict=True))
    assert divided(CropFlip()) == (None, CropFlip())
    assert divided(RandAugment())[0] == RandAugment()
    assert not torch.equal(Chain(augment.parts[::-1])(IMAGES, VIEWS), made)


def test_one_by_itself_is_what_it_was() -> None:
    assert DigitsDataModule(augment=["crop_flip"]).augment == DigitsDataModule().augment == CropFlip(1, flip=False)
    assert DigitsDataModule(augment=[]).num_views == 1
    assert DigitsDataModule(views=7).num_views == 7
    assert DigitsDataModule(augment=["crop_flip", "randaugment"]).num_views == 2**31 - 1


def test_a_batch_is_the_same_whoever_loads_it() -> None:
    """Whatever else is in it, in a worker or not."""
    seen = []
    for batch_size, workers in ((64, 0), (50, 2)):
        data = DigitsDataModule(
            augment=["crop_flip", v2.RandomRotation(90)], batch_size=batch_size, num_workers=workers, train_samples=128
        )
        data.setup("fit")
        loader = data.train_dataloader()
        loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
        batches = [data.on_after_batch_transfer(batch) for batch in loader]
        index = torch.cat([batch["index"] for batch in batches])
        seen.append(dict(zip(index.tolist(), torch.cat([batch["input"] for batch in batches]), strict=True)))
    both = seen[0].keys() & seen[1].keys()
    assert len(both) > 80
    assert all(torch.equal(seen[0][index], seen[1][index]) for index in both)


def test_what_decides_the_images_is_in_the_fingerprint() -> None:
    transforms = [
        v2.RandomRotation(15),
        v2.RandomRotation(16),
        v2.RandomAffine(15, fill={torch.Tensor: 3}),
        v2.RandomAffine(15, fill={torch.Tensor: 4}),  # which its repr leaves out
        v2.RandomApply([v2.RandomRotation(15)]),
        v2.RandomApply([v2.RandomRotation(16)]),
    ]
    assert len({repr(PerImage(one)) for one in transforms}) == len(transforms)
    assert repr(PerImage(v2.RandomRotation(15))) == repr(PerImage(v2.RandomRotation(15)))
    assert " at 0x" not in repr(PerImage(lambda image: image))


def folder(root: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("train/a/1", "train/a/2", "train/b/1", "train/b/2", "val/a/1", "val/b/1"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(root / f"{name}.png")
    return root


def of_folder(root: Path, **arguments: Any) -> torch.Tensor:
    data = ImageFolderDataModule(root=root, image_size=16, resize_size=20, val_fraction=0, **arguments)
    data.setup("fit")
    index = torch.arange(4)
    batch = {"input": data.train_set.read(index, index), "index": index, "view": index}
    return data.on_after_batch_transfer(batch)["input"]


def test_a_folder_is_cropped_as_its_files_are_decoded(tmp_path: Path) -> None:
    root = folder(tmp_path)
    usual = of_folder(root)
    assert torch.equal(of_folder(root, augment=["crop_flip"]), usual)
    erased = of_folder(root, augment=["crop_flip", v2.RandomErasing(p=1.0, value=255)])
    assert bool((erased != usual).any())
    assert bool(((erased == usual) | (erased == 1)).all())
    centre = of_folder(root, augment=None)
    data = ImageFolderDataModule(root=root, image_size=16, resize_size=20, augment=None, val_fraction=0)
    data.setup("fit")
    assert data.num_views == 1
    assert torch.equal(centre, data.train_set.images.read(torch.arange(4), None) / 255)
    with pytest.raises(UserError, match=r"data\.augment=\['randaugment', 'crop_flip'\]: .* name it first"):
        of_folder(root, augment=["randaugment", "crop_flip"])
    small = SmallFolderDataModule(root=root, augment=["crop_flip", "color_jitter"], image_size=16, resize_size=16)
    assert isinstance(small.augment, Chain)
    assert small.augment.parts[0] == CropFlip(8)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (["randaugmnt"], "data.augment=[randaugmnt]: no such augmentation; did you mean randaugment? there are"),
        ([3], "data.augment=[3]: no such augmentation"),
        ([v2.RandomCrop(4)], "data.augment=RandomCrop: makes (2, 1, 4, 4) of images (2, 1, 8, 8); keep their shape"),
        ([v2.ToDtype(torch.float32, scale=True)], "data.augment=ToDtype: makes floats up to 1"),
        ([v2.ToDtype(torch.float32)], "data.augment=ToDtype: makes float32 of images of uint8; keep their type"),
        ([v2.Normalize([0.5], [0.5])], "data.augment=Normalize: does not take images (C, H, W) of uint8, here (1, 8, "),
        (["crop_flip", v2.RandomErasing(value=[1, 2])], "data.augment=RandomErasing: does not take images"),
    ],
)
def test_what_cannot_be_is_refused(augment: list[Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        DigitsDataModule(augment=augment).check()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_images_that_are_varied_on_the_cpu_do_not_lie_on_a_device() -> None:
    with pytest.raises(UserError, match=r"data\.resident=true: data\.augment reads the images on the CPU"):
        DigitsDataModule(augment=["autoaugment"], resident=True).check()
    DigitsDataModule(augment=["crop_flip", "randaugment"], resident=True).check()


@pytest.mark.slow
def test_a_run_keeps_the_answers_to_them(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    rotation = "{_target_: torchvision.transforms.v2.RandomRotation, degrees: 15}"
    augment = f"data.augment=[randaugment,{rotation},random_erasing]"
    short = ("trainer.max_epochs=2", "scratch=false", "teacher.weights=null")
    refused = command("kd-train", augment, *short, "teacher.cache=logits")
    assert refused.code == 2
    assert "data.views=2147483647: the teacher's answers to each view" in refused.error_lines[0]
    assert command("kd-train", augment, *short, "data.views=2", "teacher.cache=prefill").code == 0
    verified = command("kd-cache", "verify")
    assert verified.code == 0, verified.errors
