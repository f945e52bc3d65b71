"""The batched sampler and loader: every image once, the same order for any number of ranks, whole batches."""

import lightning
import pytest
import torch

from kd_lightning.data import DigitsDataModule, FixedBatches, ImageSet, MemoryImages, ShardedBatches
from kd_lightning.data.batches import batched_loader
from kd_lightning.errors import UserError


def ranks(n: int, batch_size: int, world: int, epoch: int = 0, **options) -> list[list[list[int]]]:
    """For each rank its batches of positions."""
    out = []
    for rank in range(world):
        sampler = ShardedBatches(range(n), batch_size, num_replicas=world, rank=rank, **options)
        sampler.set_epoch(epoch)
        batches = [draw.positions for draw in sampler]
        assert len(batches) == len(sampler)
        out.append(batches)
    return out


CASES = [(n, b, w) for w in (1, 2, 3, 4) for b in (1, 2, 3, 8, 64) for n in (4, 5, 7, 16, 17, 63, 64, 65, 129, 257)]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("n", "batch_size", "world"), CASES)
def test_every_image_once_and_as_many_batches_on_every_rank(n, batch_size, world, shuffle):
    shards = ranks(n, batch_size, world, shuffle=shuffle)
    sizes = [len(batch) for batches in shards for batch in batches]
    seen = sorted(i for batches in shards for batch in batches for i in batch)
    assert len({len(batches) for batches in shards}) == 1
    assert min(sizes) > 0
    if batch_size > 1:
        assert max(sizes) <= batch_size
    if not shuffle or batch_size not in (2, 3):
        assert seen == list(range(n))
    else:
        assert len(seen) == len(set(seen)) >= n - 2 * world
    if shuffle and batch_size > 1 and n // world > 1:
        assert min(sizes) > 1


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (9, 8, [5, 4]),
        (17, 8, [8, 5, 4]),
        (10, 8, [8, 2]),
        (16, 8, [8, 8]),
        (5, 2, [2, 2]),
        (4, 3, [2, 2]),
        (3, 1, [1] * 3),
    ],
)
def test_no_image_is_trained_on_alone(n, batch_size, sizes):
    (batches,) = ranks(n, batch_size, 1)
    assert [len(batch) for batch in batches] == sizes
    (evaluated,) = ranks(n, batch_size, 1, shuffle=False)
    assert [i for batch in evaluated for i in batch] == list(range(n))


@pytest.mark.parametrize(("n", "batch_size", "world"), CASES)
def test_dropping_the_last_leaves_full_batches(n, batch_size, world):
    if n // world < batch_size:
        with pytest.raises(UserError, match=f"data.batch_size={batch_size}"):
            ranks(n, batch_size, world, drop_last=True)
        return
    shards = ranks(n, batch_size, world, drop_last=True)
    flat = [i for batches in shards for batch in batches for i in batch]
    assert {len(batch) for batches in shards for batch in batches} == {batch_size}
    assert len(flat) == len(set(flat))
    assert len({len(batches) for batches in shards}) == 1


def test_one_rank_gets_plain_chunks():
    (batches,) = ranks(10, 4, 1, shuffle=False)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_order_does_not_depend_on_the_number_of_ranks(world):
    (alone,) = ranks(101, 8, 1, epoch=3)
    order = [i for batch in alone for i in batch]
    for rank, batches in enumerate(ranks(101, 8, world, epoch=3)):
        assert [i for batch in batches for i in batch] == order[rank::world]


def test_the_order_is_a_function_of_seed_and_epoch():
    first = ranks(50, 8, 1, seed=0, epoch=1)
    assert ranks(50, 8, 1, seed=0, epoch=1) == first
    assert ranks(50, 8, 1, seed=0, epoch=2) != first
    assert ranks(50, 8, 1, seed=1, epoch=0) != first  # not just seed + epoch
    fixed = FixedBatches(range(50), 8, seed=0)
    before = [draw.positions for draw in fixed]
    fixed.set_epoch(5)
    assert [draw.positions for draw in fixed] == before
    assert sorted(i for batch in before for i in batch) == list(range(50))
    assert {draw.epoch for draw in fixed} == {5}


def test_fewer_images_than_ranks_are_refused():
    with pytest.raises(UserError, match="3 images on 4 devices"):
        ranks(3, 8, 4)


def small_set(num_views: int | None = 162) -> ImageSet:
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 1, 4, 4).contiguous()
    return ImageSet(MemoryImages(images, torch.arange(40) % 7), torch.arange(0, 40, 2), seed=5, num_views=num_views)


def test_a_batch_holds_images_labels_rows_and_views():
    loader = batched_loader(small_set(), ShardedBatches(range(20), 8), 0, pin_memory=False)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert batches[0]["input"].shape == (8, 1, 4, 4)
    assert {name: value.dtype for name, value in batches[0].items()} == {
        "input": torch.uint8,
        "target": torch.int64,
        "index": torch.int64,
        "view": torch.int64,
    }
    for batch in batches:
        assert torch.equal(batch["input"][:, 0, 0, 0].long(), batch["index"])
        assert torch.equal(batch["target"], batch["index"] % 7)
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(0, 40, 2))


def test_workers_that_stay_learn_the_epoch():
    def epochs(workers: int) -> list[torch.Tensor]:
        data = small_set()
        loader = batched_loader(data, ShardedBatches(data, 8), workers, pin_memory=False)
        out = []
        for epoch in (0, 1, 4):
            loader.sampler.set_epoch(epoch)
            out += [batch[key] for batch in loader for key in ("input", "index", "view")]
        return out

    here, there = epochs(0), epochs(2)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


class Recorder(lightning.LightningModule):
    """Trains nothing much and keeps the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(64, 10)
        self.seen: list[tuple[int, dict]] = []
        self.evaluated: list[dict] = []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, {k: v.clone() for k, v in batch.items()}))
        return torch.nn.functional.cross_entropy(self.net(batch["input"].flatten(1)), batch["target"])

    def validation_step(self, batch, _):
        self.evaluated.append(batch)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: lightning.LightningDataModule, **options) -> Recorder:
    module = Recorder()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    lightning.Trainer(**{"max_epochs": 2, "enable_model_summary": False, **quiet, **options}).fit(module, data)
    return module


def test_a_plain_trainer_takes_the_data_module():
    data = DigitsDataModule(batch_size=100, seed=1)
    module = fit(data)
    assert len(module.seen) == 18
    batch = module.seen[0][1]
    assert batch["input"].dtype == torch.float32
    assert 0 <= batch["input"].min() < batch["input"].max() <= 1
    images = data.train_set.images.images
    views = {0: [], 1: []}
    for epoch, batch in module.seen:
        again = data.augment(images[batch["index"]], batch["view"]).float() / 255
        assert torch.equal(batch["input"], again)  # index and view alone replay the input
        views[epoch].append(torch.stack([batch["index"], batch["view"]], 1))
    first, second = (torch.cat(v) for v in views.values())
    assert not torch.equal(first[:, 0], second[:, 0])
    assert len({*map(tuple, first.tolist()), *map(tuple, second.tolist())}) > 1.5 * len(first)
    for batch in module.evaluated:
        assert "view" not in batch


@pytest.mark.parametrize("options", [{"fast_dev_run": 2}, {"limit_train_batches": 2}, {"overfit_batches": 2}])
def test_trainers_debugging_options_work(options):
    module = fit(DigitsDataModule(batch_size=100), **options)
    assert all(len(batch["target"]) == 100 for _, batch in module.seen)
    if "overfit_batches" in options:
        by_epoch = [torch.cat([b["index"] for e, b in module.seen if e == epoch]) for epoch in (0, 1)]
        assert torch.equal(*by_epoch)
        assert len(set(module.seen[0][1]["target"].tolist())) == 10  # a mixture of classes, not the file's first
