"""The images that come beside a training image: itself in another view, another one of its class."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kd_lightning.data import CropFlip, DigitsDataModule, ImageDataModule, InMemoryDataModule, MemoryImages, Sources
from kd_lightning.data.batches import Draw
from kd_lightning.data.labels.same_class import Partners
from kd_lightning.data.views import another_view, view_of
from kd_lightning.errors import UserError
from tests.conftest import Command
from tests.data.test_folder import module as folder_module
from tests.data.test_folder import tree

LABELS = torch.tensor([3, 0, 1, 0, 3, 3, 7, 0, -1, 1, 3])  # 7 stands alone
INDEX = torch.arange(len(LABELS)) + 100


def partners(epoch: int, seed: int = 0, some: Tensor | None = None, repeats: Tensor | None = None) -> Tensor:
    positions = torch.arange(len(LABELS)) if some is None else some
    return Partners.among(LABELS).drawn(seed, epoch, positions, INDEX[positions], repeats)


def test_a_partner_is_another_image_of_the_class() -> None:
    for epoch in range(20):
        drawn = partners(epoch)
        assert torch.equal(LABELS[drawn], LABELS)
        alone = drawn == torch.arange(len(LABELS))
        assert LABELS[alone].tolist() == [7, -1]


def test_each_of_the_class_is_equally_likely() -> None:
    drawn = torch.stack([partners(epoch) for epoch in range(3000)])
    for position in (0, 4, 10):  # of class 3, of which there are three others
        counts = torch.bincount(drawn[:, position], minlength=len(LABELS))
        others = [other for other in (0, 4, 5, 10) if other != position]
        assert counts[others].sum() == 3000
        assert counts[others].min() > 850  # of 1000; six standard deviations are 155


def test_it_follows_from_seed_epoch_and_index_alone() -> None:
    whole, some = partners(4), torch.tensor([10, 2, 5])
    assert torch.equal(partners(4, some=some), whole[some])
    assert not torch.equal(partners(5), whole)
    assert not torch.equal(partners(4, seed=1), whole)


def test_who_is_drawn_again_meets_another_one() -> None:
    some = torch.tensor([0, 0, 0, 0])
    met = partners(4, some=some, repeats=torch.tensor([0, 1, 2, 3]))
    assert sorted(met[:3].tolist()) == [4, 5, 10]
    assert met[3] == met[0]


@pytest.mark.parametrize("num_views", [2, 3, 162])
def test_a_second_view_is_another_one(num_views: int) -> None:
    index = torch.arange(2000)
    views = view_of(0, 3, index, num_views)
    other = another_view(0, 3, index, views, num_views)
    assert ((other != views) & (other >= 0) & (other < num_views)).all()
    assert len(((other - views) % num_views).unique()) == num_views - 1
    assert torch.equal(another_view(0, 3, index[5:9], views[5:9], num_views), other[5:9])


class Small(InMemoryDataModule):
    """Images that are all one number, their own."""

    name, in_channels, image_size, mean, std = "small", 3, 8, (0.0,) * 3, (1.0,) * 3
    usual_augmentation = CropFlip(padding=0)

    @property
    def class_names(self) -> list[str]:
        return ["a", "b", "c"]

    def read(self) -> Sources:
        pixels = torch.arange(48, dtype=torch.uint8)[:, None, None, None].expand(48, 3, 8, 8).clone()
        images = MemoryImages(pixels, torch.arange(48) % 3)
        return Sources(images, images)


def batches(data: ImageDataModule, epoch: int = 0, over: int = 0) -> list[dict[str, Tensor]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    loader.sampler.over = over  # type: ignore[attr-defined]
    return [data.on_after_batch_transfer(batch) for batch in loader]


def by_index(given: list[dict[str, Tensor]], name: str) -> dict[int, Tensor]:
    return {int(i): x for batch in given for i, x in zip(batch["index"], batch[name], strict=True)}


def test_batches_carry_the_partner() -> None:
    data = Small(batch_size=16, val_fraction=0.25).with_views(["same_class"])
    trained = {*data.train_set.rows.tolist()}
    for batch in batches(data):
        assert [name for name in batch if name.startswith("input")] == ["input", "input_same_class"]
        numbers = (batch["input_same_class"].amax(dim=(1, 2, 3)) * 255).round().long()
        assert torch.equal(numbers % 3, batch["target"])
        assert not (numbers == batch["index"]).any()
        assert {*numbers.tolist()} <= trained, "none of validation"


def test_partners_are_of_the_labels_that_are_trained_on() -> None:
    data = Small(batch_size=16, val_fraction=0, label_noise=0.5).with_views(["same_class"])
    labels = data.train_set.labels
    assert labels is not None
    for batch in batches(data):
        numbers = (batch["input_same_class"].amax(dim=(1, 2, 3)) * 255).round().long()
        assert torch.equal(labels[numbers], batch["target"])


@pytest.mark.parametrize("view", ["second", "same_class"])
def test_what_comes_beside_is_equal_over_ranks_workers_and_in_a_training_that_is_taken_up(view: str) -> None:
    data = DigitsDataModule(seed=3).with_views([view])
    whole, taken_up = (by_index(batches(data, 2, over), f"input_{view}") for over in (0, 4))
    assert 0 < len(taken_up) < len(whole)
    others = [taken_up, by_index(batches(data.in_batches_of(7), 2), f"input_{view}")]
    for rank in range(2):
        loader = data.loader(data.train_set, 16, shuffle=True)
        loader.sampler.num_replicas, loader.sampler.rank = 2, rank  # type: ignore[attr-defined]
        loader.sampler._divide(len(data.train_set))  # type: ignore[attr-defined]
        loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
        others.append(by_index([data.on_after_batch_transfer(batch) for batch in loader], f"input_{view}"))
    for other in others:
        both = other.keys() & whole.keys()
        assert len(both) > 50
        assert all(torch.equal(other[i], whole[i]) for i in both)


@pytest.mark.slow
def test_worker_processes_give_the_same(tmp_path: Path) -> None:
    root = tree(tmp_path, "train", "val", each=6)
    alone, by_workers = (
        batches(folder_module(root, num_workers=workers).with_views(["second", "same_class"]), epoch=1)
        for workers in (0, 2)
    )
    for view in ("input", "input_second", "input_same_class"):
        first, again = by_index(alone, view), by_index(by_workers, view)
        assert all(torch.equal(first[i], again[i]) for i in first)


def test_image_files_are_decoded_anew_for_each(tmp_path: Path) -> None:
    data = folder_module(tree(tmp_path, "train", "val")).with_views(["second", "same_class"])
    draw = Draw(0, [0, 1, 2, 3, 4, 5, 6, 7])
    batch = data.train_set[draw]
    second, partner = batch["beside"]["second"], batch["beside"]["same_class"]
    assert second["input"].shape == partner["input"].shape == (8, 3, 16, 16)
    assert not (second["view"] == batch["view"]).any()
    assert torch.equal(second["input"], data.train_set.read(batch["index"], second["view"]))
    for rows, image, view in zip(batch["target"], partner["input"], partner["view"], strict=True):
        of_class = torch.nonzero(data.train_set.targets == rows)[:, 0]
        assert any(torch.equal(data.train_set.read(row[None], view[None])[0], image) for row in of_class)


def test_only_what_is_asked_for_comes_and_none_in_evaluation() -> None:
    data = DigitsDataModule()
    asked = data.with_views(["second"])
    assert [*asked.inputs] == ["input", "input_second"]
    assert "input_second" in asked.example()
    assert "beside" not in next(iter(asked.test_dataloader()))
    assert "beside" not in next(iter(data.train_dataloader()))
    assert "beside" not in next(iter(asked.with_views([]).train_dataloader()))


@pytest.mark.parametrize(
    ("options", "view", "words"),
    [
        ({"mixup": 0.8}, "second", "data.mixup=0.8: beside terms on @second"),
        ({"cutmix": 1.0}, "same_class", "data.cutmix=1.0: beside terms on @same_class"),
        ({"augment": None}, "second", "data.augment=null: a term compares two views of an image, and each has one"),
    ],
)
def test_what_cannot_come_beside_is_refused(options: dict, view: str, words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        DigitsDataModule(**options).with_views([view])


OWN = (
    "data={_target_: tests.experiment.test_own_data.Points}",
    "student.model={_target_: tests.experiment.test_own_data.Network, width: 4}",
    "scratch=false",
)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=cs_kd", "data.mixup=0.8"], ["data.mixup=0.8", "mix none"]),
        (["method=ddgsd", "data.augment=null"], ["data.augment=null", "augment the images"]),
        (["method=ddgsd", *OWN], ["input_second", "let the loader"]),
        (["method=cs_kd", *OWN], ["input_same_class", "let the loader"]),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: list[str], command: Command) -> None:
    outcome = command("kd-train", *arguments, "trainer.max_steps=2")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert all(word in outcome.error_lines[0] for word in words), outcome.errors
