"""The data module: what is known early, how images are split, what a batch holds, what identifies the data."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning import Trainer

from kd_lightning.config.conf import conf_dir
from kd_lightning.data import CropFlip, DigitsDataModule, Identity, ImageDataModule, MemoryImages, RandAugment
from kd_lightning.data.split import Split, stratified
from kd_lightning.errors import UserError


def digits(**options) -> DigitsDataModule:
    data = DigitsDataModule(**options)
    data.setup()
    return data


def targets_of(*counts: int) -> torch.Tensor:
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("counts", [(100, 100, 100), (50, 7, 3, 1), (1, 1, 1), (5, 0, 5)])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.34, 0.5, 1.0])
def test_a_stratified_draw_takes_each_class_in_proportion(counts, fraction):
    targets = targets_of(*counts)
    count = round(fraction * len(targets))
    drawn = stratified(targets, count, seed=1)
    assert len(drawn) == len(set(drawn.tolist())) == count
    assert torch.equal(drawn, drawn.sort().values)
    for label, size in enumerate(counts):
        taken = int((targets[drawn] == label).sum())
        assert abs(taken - size * count / len(targets)) < 1
        assert taken <= size


def test_a_draw_is_a_function_of_its_seed():
    targets = targets_of(100, 100)
    assert torch.equal(stratified(targets, 30, seed=1), stratified(targets, 30, seed=1))
    assert not torch.equal(stratified(targets, 30, seed=1), stratified(targets, 30, seed=2))


def test_validation_does_not_depend_on_the_seed_and_never_meets_training():
    targets = targets_of(100, 60, 40)
    whole, held_out = Split(0.1, classes=3).of(targets)
    assert sorted([*whole.tolist(), *held_out.tolist()]) == list(range(200))
    assert targets[held_out].bincount().tolist() == [10, 6, 4]
    draws = []
    for seed in (1, 2):
        used, again = Split(0.1, classes=3, train_samples=50, seed=seed).of(targets)
        assert torch.equal(again, held_out)
        assert set(used.tolist()) <= set(whole.tolist())
        assert targets[used].bincount().tolist() == [25, 15, 10]
        draws.append(used)
    assert not torch.equal(*draws)


def test_what_is_known_before_any_reading():
    data = DigitsDataModule()
    assert (data.num_classes, data.in_channels, data.image_size, data.input_shape) == (10, 1, 8, (1, 8, 8))
    assert (data.class_names[3], data.validates_on, data.num_views) == ("3", "validation", 9)
    assert DigitsDataModule(val_fraction=0).validates_on == "test"
    assert not hasattr(data, "train_set")


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = digits(val_fraction=0)
    train, test = data.train_set.images, data.test_set.images
    assert (len(train.targets), len(test.targets)) == (899, 898)
    pixels, labels = load_digits(return_X_y=True)
    ours = torch.cat([torch.round(part.images / 255 * 16).flatten(1) for part in (train, test)]).long()
    ours = torch.cat([ours, torch.cat([train.targets, test.targets])[:, None]], 1)
    theirs = torch.cat([torch.from_numpy(pixels).long(), torch.from_numpy(labels)[:, None]], 1)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert (train.targets.bincount() - test.targets.bincount()).abs().max() <= 1
    unit = train.images.double() / 255
    assert unit.mean().item() == pytest.approx(data.mean[0], abs=1e-4)
    assert unit.std(unbiased=False).item() == pytest.approx(data.std[0], abs=1e-4)


def test_setup_reads_once():
    data = digits()
    before = data.train_set, data.val_set, data.test_set
    data.setup("test")
    assert all(a is b for a, b in zip(before, (data.train_set, data.val_set, data.test_set), strict=True))


def test_splits_and_their_loaders():
    data = digits(train_samples=100, batch_size=30)
    assert (len(data.train_set), len(data.val_set), len(data.test_set)) == (100, 90, 898)
    assert data.eval_batch_size == 120
    rows = {name: set(part.rows.tolist()) for name, part in (("train", data.train_set), ("val", data.val_set))}
    assert not rows["train"] & rows["val"]
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    seen = {name: torch.cat([batch["index"] for batch in loader]) for name, loader in loaders.items()}
    assert set(seen["train"].tolist()) == rows["train"]
    assert set(seen["val"].tolist()) == rows["val"]
    assert seen["test"].tolist() == list(range(898))
    assert [len(loader) for loader in loaders.values()] == [4, 1, 8]


def test_without_a_validation_part_the_test_set_validates():
    data = digits(val_fraction=0)
    assert len(data.train_set) == 899
    assert data.val_set is data.test_set


def test_the_hook_augments_training_batches_alone():
    data = digits(batch_size=64)
    raw = next(iter(data.train_dataloader()))
    batch = data.on_after_batch_transfer(dict(raw), 0)
    assert batch["input"].dtype == torch.float32
    assert torch.equal(batch["input"], data.augment(raw["input"], raw["view"]).float() / 255)
    assert not torch.equal(batch["input"], raw["input"].float() / 255)
    assert set(batch) == {"input", "target", "index", "view"}
    raw = next(iter(data.val_dataloader()))
    batch = data.on_after_batch_transfer(dict(raw), 0)
    assert torch.equal(batch["input"], raw["input"].float() / 255)
    assert "view" not in batch, "an image as it is, is none of the views of training"


def test_no_augmentation_is_one_view():
    data = digits(augment=None)
    assert isinstance(data.augment, Identity)
    assert data.num_views == 1
    raw = next(iter(data.train_dataloader()))
    assert torch.equal(data.on_after_batch_transfer(raw)["input"], raw["input"].float() / 255)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_an_epoch_as_one_rank_sees_it(world):
    def epoch(world_size: int, rank: int) -> list[dict]:
        data = digits(batch_size=64, seed=3)
        trainer = SimpleNamespace(world_size=world_size, global_rank=rank, overfit_batches=0)
        trainer.strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = trainer
        loader = data.train_dataloader()
        loader.sampler.set_epoch(2)
        return [data.on_after_batch_transfer(batch, 0) for batch in loader]

    def by_index(batches: list[dict]) -> dict[int, tuple]:
        out = {}
        for batch in batches:
            for image, index, view in zip(batch["input"], batch["index"], batch["view"], strict=True):
                assert int(index) not in out
                out[int(index)] = (int(view), image.flatten().tolist())
        return out

    shards = [epoch(world, rank) for rank in range(world)]
    assert len({len(batches) for batches in shards}) == 1
    assert by_index([batch for batches in shards for batch in batches]) == by_index(epoch(1, 0))


def test_the_fingerprint_tells_what_shaped_the_data():
    base = digits().fingerprint()
    assert json.loads(json.dumps(base)) == base
    assert digits(batch_size=8, seed=5, eval_batch_size=3).fingerprint() == base
    changes = [
        {"val_fraction": 0.2},
        {"train_samples": 100},
        {"train_samples": 100, "seed": 1},
        {"augment": None},
        {"augment": CropFlip(padding=1, flip=True)},
    ]
    prints = [json.dumps(digits(**change).fingerprint()) for change in changes]
    assert len({json.dumps(base), *prints}) == len(changes) + 1
    other = digits()
    other.train_set.images.images[5, 0, 3, 3] += 1
    assert other.fingerprint() != base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 1.5}, "data.val_fraction=1.5: "),
        ({"val_fraction": -0.1}, "data.val_fraction=-0.1: "),
        ({"val_fraction": 0.0001}, "data.val_fraction=0.0001: takes 0 of 899"),
        ({"batch_size": 0}, "data.batch_size=0: "),
        ({"batch_size": "many"}, "data.batch_size=many: "),
        ({"eval_batch_size": -1}, "data.eval_batch_size=-1: "),
        ({"num_workers": -1}, "data.num_workers=-1: "),
        ({"train_samples": 0}, "data.train_samples=0: "),
        ({"train_samples": 5000}, "data.train_samples=5000: only 809 images"),
    ],
)
def test_bad_values_are_named_in_one_line(options, message):
    with pytest.raises(UserError) as error:
        digits(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in (conf_dir() / "data").glob("*.yaml")))
def test_every_config_builds_its_data_module(name, tmp_path):
    paths = [f"paths.data_dir={tmp_path}", f"paths.cache_dir={tmp_path}", f"paths.output_dir={tmp_path}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", [f"data={name}", "seed=7", *paths])
    data = instantiate(config.data)
    assert isinstance(data, ImageDataModule)
    assert (data.name, data.seed) == (name, 7)
    assert len(data.mean) == len(data.std) == data.in_channels
    if name.startswith("cifar"):
        assert data.num_views == 162
        data.check()  # not there yet, but it will be downloaded


def test_images_lie_on_the_device_once() -> None:
    images = MemoryImages(torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), torch.tensor([0, 1]))
    there = images.on(torch.device("meta"))
    assert there.images.device.type == "meta"
    assert there.targets is images.targets
    assert images.on(torch.device("meta")) is there
    assert there.read(torch.tensor([1]), None).device.type == "meta"


@pytest.mark.parametrize("options", [{"strong": RandAugment()}, {"num_workers": 1}])
def test_images_on_the_gpu_are_not_read_on_the_cpu(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^data\.resident=true: data\.(strong|num_workers) reads"):
        DigitsDataModule(resident=True, **options).check()


@pytest.mark.gpu
def test_batches_from_the_gpu_are_those_from_the_cpu() -> None:
    def batches(resident: bool) -> list[Any]:
        data = DigitsDataModule(resident=resident)
        trainer = Trainer(accelerator="gpu", devices=1, logger=False)
        data.trainer = trainer
        data.setup()
        loader = data.train_dataloader()
        return [data.on_after_batch_transfer(trainer.strategy.batch_to_device(batch)) for batch in loader]

    for ours, theirs in zip(batches(True), batches(False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
