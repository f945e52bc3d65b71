"""A data module of the user's own: what it must say and give, and what its loaders may give."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lightning.data import CropFlip, InMemoryDataModule, MemoryImages, Sources
from kd_lightning.errors import UserError
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.store import Answers, Whole


class Squares(InMemoryDataModule):
    """Twelve images of two classes."""

    name = "squares"
    in_channels = 1
    image_size = 4
    mean, std = (0.5,), (0.5,)
    class_names = ["dark", "light"]  # noqa: RUF012
    images = torch.arange(12, dtype=torch.uint8).mul(20).view(12, 1, 1, 1).expand(12, 1, 4, 4)
    targets = torch.arange(12) // 6

    def read(self) -> Sources:
        return Sources(MemoryImages(self.images, self.targets), MemoryImages(self.images, self.targets))


def message(**changes: Any) -> str:
    kind = type("Squares", (Squares,), changes)
    with pytest.raises(UserError) as error:
        kind().setup()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": Squares.images / 255}, "images of train are torch.float32 of shape (12, 1, 4, 4); give uint8"),
        ({"images": Squares.images.long()}, "images of train are torch.int64"),
        ({"images": Squares.images[:, 0]}, "of shape (12, 4, 4); give uint8 from 0 to 255, of shape (12, 1, 4, 4)"),
        ({"images": Squares.images[:6]}, "of shape (6, 1, 4, 4)"),
        ({"image_size": 8}, "of shape (12, 1, 8, 8)"),
        ({"targets": Squares.targets + 1}, "targets of train hold 2; labels are from 0 to 1"),
        ({"targets": Squares.targets - 2}, "targets of train hold -2"),
        ({"targets": Squares.targets.float()}, "targets of train must be one int64 label for each image"),
        ({"targets": torch.eye(12).long()}, "targets of train must be one int64 label for each image"),
        ({"targets": Squares.targets.tolist()}, "targets of train must be one int64 label for each image"),
        ({"targets": Squares.targets[:0], "images": Squares.images[:0]}, "train has no image"),
        ({"class_names": ["dark"]}, "data=squares: one class (dark) is nothing to learn"),
        ({"mean": (0.5, 0.5)}, "data.mean=(0.5, 0.5): must be a list of 1 numbers"),
        ({"std": (0.0,)}, "data.std=(0.0,): must be a list of 1 numbers above 0"),
    ],
)
def test_what_it_must_give(changes: dict[str, Any], words: str) -> None:
    assert words in message(**changes)


@pytest.mark.parametrize("name", ["name", "in_channels", "image_size", "mean", "std"])
def test_what_it_must_say(name: str) -> None:
    class Silent(InMemoryDataModule):
        read = Squares.read
        class_names = Squares.class_names

    for other in {"name", "in_channels", "image_size", "mean", "std"} - {name}:
        setattr(Silent, other, getattr(Squares, other))
    with pytest.raises(UserError, match=f"Silent: sets no {name}; see kd_lightning.data.ImageDataModule"):
        Silent().check()


def test_images_without_a_label_are_welcome() -> None:
    data = type("Squares", (Squares,), {"targets": torch.tensor([-1, -100] + [0, 1] * 5)})()
    data.setup()
    assert len(data.test_set) == 12


def as_given(images: Tensor) -> Tensor:
    given = {"input": images, "target": torch.zeros(2, dtype=torch.int64), "index": None}
    return Squares().on_after_batch_transfer(given)["input"]


def test_floats_of_a_loader_stay_as_they_are() -> None:
    images = torch.rand(2, 1, 4, 4)
    kept = images.clone()
    assert torch.equal(as_given(images), kept)
    assert torch.equal(images, kept)
    assert torch.equal(as_given(images.double()), kept.double().float())
    assert torch.equal(as_given((images * 255).to(torch.uint8)), (images * 255).to(torch.uint8).float() / 255)
    with pytest.raises(UserError, match=r"images are torch.int64; give uint8 from 0 to 255, or floats in \[0, 1\]"):
        as_given((images * 255).long())


@pytest.mark.parametrize("batch", [(torch.rand(2, 1, 4, 4), torch.tensor([0, 1])), [torch.rand(2, 1, 4, 4)]])
def test_a_pair_is_a_batch(batch: Any) -> None:
    assert torch.equal(Squares().on_after_batch_transfer(batch)["input"], batch[0])


@pytest.mark.parametrize("batch", [{"input": None, "target": torch.tensor([0])}, (None, torch.tensor([0])), [None]])
def test_a_batch_without_an_input_is_refused(batch: Any) -> None:
    with pytest.raises(UserError, match=r"give \(input, target\), .*a lone input, or a mapping with the key 'input'"):
        Squares().on_after_batch_transfer(batch)


def test_a_view_that_is_none_is_no_view(tmp_path: Any) -> None:
    teacher = CachedSource(FrozenNetwork(torch.nn.Flatten()), Answers(tmp_path / "answers", 12, 1, Whole(16)))
    with pytest.raises(UserError, match="without 'index' and 'view'"):
        teacher.before_transfer({"input": torch.rand(2, 1, 4, 4), "index": torch.tensor([0, 1]), "view": None})  # type: ignore[dict-item]


class Alters:
    """An augmentation of the user's own that does what it is told."""

    num_views = 3

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, images: Tensor, views: Tensor) -> Any:
        return {
            "nothing": lambda: images,
            "floats": lambda: images.float(),
            "to_one": lambda: images / 255,
            "smaller": lambda: images[..., 1:],
            "none": lambda: None,
            "fails": lambda: images[views],
        }[self.how]()


@pytest.mark.parametrize("key", ["augment", "strong"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("to_one", "makes floats up to 1 of images from 0 to 255; keep their range"),
        ("smaller", "makes (2, 1, 4, 3) of images (2, 1, 4, 4); keep their shape"),
        ("none", "makes NoneType of"),
        ("fails", "does not take images (B, C, H, W) with views (B,) (IndexError: "),
    ],
)
def test_an_augmentation_is_tried_first(key: str, how: str, words: str) -> None:
    for how_well in ("nothing", "floats"):
        data = Squares(**{key: Alters(how_well)}, val_fraction=0)
        data.setup()
        batch = next(iter(data.train_dataloader()))
        expected = batch["index"].view(-1, 1, 1, 1).expand(-1, 1, 4, 4) * 20 / 255
        name = "input" if key == "augment" else "input_strong"
        torch.testing.assert_close(data.on_after_batch_transfer(batch)[name], expected)
    with pytest.raises(UserError) as error:
        Squares(**{key: Alters(how)}).check()
    assert str(error.value).startswith(f"data.{key}=Alters: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_augmentation_says_how_many_views_it_has() -> None:
    with pytest.raises(UserError, match=r"data.augment.num_views=None: must be a whole number, from 1"):
        Squares(augment=lambda images, views: images)
    with pytest.raises(UserError, match=r"data\.strong=CropFlip: does not take"):
        Squares(strong=CropFlip()).check()
