"""A drawn order in this package's batches: shorter or longer than the data, on ranks and workers, and its views."""

from collections import Counter

import pytest
import torch

from kd_lightning.data import CropFlip, ImageSet, MemoryImages, ShardedBatches, view_of
from kd_lightning.data.augmentation.strong import StrongView
from kd_lightning.data.batches import batched_loader, earlier_draws
from kd_lightning.errors import UserError

DRAWN = torch.tensor([3, 1, 3, 0, 3, 7, 1, 9, 2, 3, 5])


def images(strong: StrongView | None = None) -> ImageSet:
    pixels = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 4, 4).contiguous()
    return ImageSet(MemoryImages(pixels, torch.arange(12) % 3), torch.arange(0, 12), 5, num_views=50, strong=strong)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_ranks_share_what_is_drawn(world: int, batch_size: int) -> None:
    shards, lengths = [], set()
    for rank in range(world):
        sampler = ShardedBatches(range(12), batch_size, num_replicas=world, rank=rank)
        sampler.take(DRAWN)
        batches = [draw.positions for draw in sampler]
        assert len(sampler) == len(batches)
        assert [batch.tolist() for batch in sampler.given] == batches
        lengths.add(len(batches))
        shards.append([position for batch in batches for position in batch])
    if batch_size != 2:  # which may leave one out, see ShardedBatches
        assert shards == [DRAWN[rank::world].tolist() for rank in range(world)]
    assert len(lengths) == 1


def test_an_order_stays_until_another_is_taken_and_may_be_longer_than_the_data() -> None:
    sampler = ShardedBatches(range(4), 2)
    sampler.take(torch.arange(4).repeat(3))
    assert len(sampler) == 6
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        assert [draw.positions for draw in sampler] == [[0, 1], [2, 3]] * 3
    sampler.take(torch.tensor([2, 0]))
    assert [draw.positions for draw in sampler] == [[2, 0]]
    sampler.over = 1
    assert [*sampler] == []


def test_a_draw_that_leaves_a_rank_without_a_batch_is_refused() -> None:
    sampler = ShardedBatches(range(8), 2, num_replicas=4, rank=0)
    with pytest.raises(UserError, match="3 images on 4 devices"):
        sampler.take(torch.arange(3))


def test_how_often_each_was_drawn_before() -> None:
    seen: Counter[int] = Counter()
    for position, earlier in zip(DRAWN.tolist(), earlier_draws(DRAWN).tolist(), strict=True):
        assert earlier == seen[position]
        seen[position] += 1


@pytest.mark.parametrize("num_views", [1, 2, 3, 50, 162, 578, 2**31])
def test_a_sample_that_comes_again_shows_another_view_until_it_has_shown_all(num_views: int) -> None:
    times = min(num_views, 600)
    index = torch.full((times,), 17)
    views = view_of(3, 2, index, num_views, torch.arange(times))
    assert len(views.unique()) == times
    assert bool(((views >= 0) & (views < num_views)).all())
    assert views[0] == view_of(3, 2, index[:1], num_views)[0]
    assert torch.equal(views, view_of(3, 2, index, num_views, torch.arange(times)))  # and nothing else decides it


@pytest.mark.parametrize("workers", [0, 2])
def test_views_of_a_drawn_epoch_are_a_function_of_the_sample_and_its_turn(workers: int) -> None:
    strong = StrongView(CropFlip(1), lambda images, views: images)
    data = images(strong if workers == 0 else None)
    sampler = ShardedBatches(data, 4)
    loader = batched_loader(data, sampler, workers, pin_memory=False)
    found = []
    for drawn in (DRAWN, DRAWN.flip(0)):
        sampler.take(drawn)
        sampler.set_epoch(4)
        batches = [*loader]
        index, view = (torch.cat([batch[name] for batch in batches]) for name in ("index", "view"))
        assert torch.equal(index, drawn)
        assert torch.equal(view, view_of(5, 4, drawn, 50, earlier_draws(drawn)))
        found.append(sorted(zip(index.tolist(), view.tolist(), strict=True)))
    assert found[0] == found[1]  # wherever in the epoch it was drawn


def test_without_a_draw_all_is_as_it_was() -> None:
    sampler = ShardedBatches(range(12), 4, seed=3)
    before = list(sampler)
    assert all(draw.repeats is None for draw in before)
    assert sorted(position for draw in before for position in draw.positions) == [*range(12)]
