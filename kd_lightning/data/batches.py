"""Whole batches at a time: the sampler, the data set and the loader between them."""

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, SequentialSampler

from kd_lightning.batch import SAME_CLASS, Batch
from kd_lightning.data.augmentation.augment import Augmentation
from kd_lightning.data.augmentation.mixing import Drawn, Mixing
from kd_lightning.data.augmentation.strong import STRONG_VIEWS, StrongView
from kd_lightning.data.labels.same_class import Partners
from kd_lightning.data.views import another_view, view_of
from kd_lightning.errors import UserError
from kd_lightning.store.hashing import fold

STRONG_EPOCHS = 2**32  # added to an epoch's number, so that its two views are drawn apart


class Draw(NamedTuple):
    """One batch: positions in the data set, and the epoch they are drawn in (a worker learns it here).

    `repeats` says how often each position was drawn before in the epoch; None is never.
    """

    epoch: int
    positions: list[int]
    repeats: list[int] | None = None


class Images(Protocol):
    """All images of one folder or file, by their row."""

    targets: Tensor  # int64 (N,)

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        """rows int64 (B,) -> uint8 (B, C, H, W); with views (B,) as training shows them, as far as the CPU's part."""
        ...


@dataclass
class ImageSet(Dataset[Batch]):
    """Some rows of the images, read a batch at a time.

    A batch is {"input": uint8 (B, C, H, W), "target", "index": int64 (B,)}, where index is the row in `images`,
    however few of them are used; for training, where num_views is a number, also "view": int64 (B,), where there is a
    strong augmentation "input_strong", and where images are mixed "partner", whose "input", "target" and "view" are the
    other images' and whose "share" and "box" are `Drawn`'s. Further views lie in "beside" by their names, each with its
    "input" and "view".

    Examples:
        >>> import torch
        >>> from kd_lightning.data import Draw, ImageSet, MemoryImages
        >>> images = MemoryImages(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
        >>> batch = ImageSet(images, rows=torch.tensor([1, 3]))[Draw(epoch=0, positions=[0, 1])]
        >>> batch["target"], batch["index"]
        (tensor([1, 1]), tensor([1, 3]))
    """

    images: Images
    rows: Tensor
    seed: int = 0
    num_views: int | None = None
    strong: StrongView | None = None
    augment: Augmentation | None = None  # what of it is done here; the rest is left to the device
    mixing: Mixing | None = None
    partners: Tensor | None = None  # the rows that images are mixed with, some repeatedly perhaps; all where None
    labels: Tensor | None = None  # of all images, int64 (N,), in place of their own
    beside: tuple[str, ...] = ()  # which further views come with each image, `second` or `same_class`

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> Tensor:
        """int64 (len(self),)"""
        return self.labels_of(self.rows)

    def labels_of(self, rows: Tensor) -> Tensor:
        """int64 (B,), of images by their row in `images`."""
        return (self.images.targets if self.labels is None else self.labels)[rows]

    @property
    def is_on_device(self) -> bool:
        """Whether the images are read on the device already."""
        pixels = getattr(self.images, "images", None)
        return isinstance(pixels, Tensor) and pixels.device.type != "cpu"

    def __getitem__(self, draw: Draw) -> Batch:
        index = self.rows[draw.positions]
        repeats = None if draw.repeats is None else torch.tensor(draw.repeats)
        if self.num_views is None:
            return self.batch(index, None)
        batch = self.batch(index, view_of(self.seed, draw.epoch, index, self.num_views, repeats))
        if self.strong is not None:
            views = view_of(self.seed, draw.epoch + STRONG_EPOCHS, index, STRONG_VIEWS, repeats)
            batch["input_strong"] = self.strong(self.images.read(index, views % self.num_views), views)
        if self.beside:
            batch["beside"] = {name: self._beside(name, draw, index, batch["view"], repeats) for name in self.beside}
        return batch

    def _beside(self, name: str, draw: Draw, index: Tensor, views: Tensor, repeats: Tensor | None) -> Batch:
        """What comes with the images of a draw: themselves in other views, or others of their classes in any."""
        assert self.num_views is not None
        other = another_view(self.seed, draw.epoch, index, views, self.num_views)
        if name == SAME_CLASS:
            positions = torch.tensor(draw.positions)
            index = self.rows[self.classes.drawn(self.seed, draw.epoch, positions, index, repeats)]
        return {"input": self.read(index, other), "view": other}

    @cached_property
    def classes(self) -> Partners:
        """Who else is of each image's class."""
        return Partners.among(self.targets)

    def batch(self, index: Tensor, views: Tensor | None) -> Batch:
        """Images by their index, of these views."""
        images = self.read(index, views)
        batch: Batch = {"input": images, "target": self.labels_of(index), "index": index}
        if views is None:
            return batch
        batch["view"] = views
        if self.mixing is not None:
            height, width = images.shape[-2:]
            batch["partner"] = self._partners(self.mixing.draw(index, views, len(self.mixed_with), height, width))
        return batch

    @property
    def mixed_with(self) -> Tensor:
        """The rows of images to be mixed with: int64 (M,)"""
        return self.rows if self.partners is None else self.partners

    def _partners(self, drawn: Drawn) -> Batch:
        """What images are mixed with."""
        assert self.num_views is not None
        rows, views = self.mixed_with[drawn.partner], drawn.view % self.num_views
        known = {"target": self.labels_of(rows), "view": views, "share": drawn.share, "box": drawn.box}
        return {"input": self.read(rows, views), **known}

    def read(self, rows: Tensor, views: Tensor | None) -> Tensor:
        """Images by their row in `images`, as the loader gives them: rows int64 (B,) -> uint8 (B, C, H, W)."""
        images = self.images.read(rows, views)
        return images if views is None or self.augment is None else self.augment(images, views)


def whole(images: Images) -> ImageSet:
    """All rows, for evaluation."""
    return ImageSet(images, torch.arange(len(images.targets)))


class ShardedBatches(DistributedSampler[Draw]):
    """The batches of one rank, in an order that is a function of (seed, epoch) alone, unless it is given one by `take`.

    Rank r takes every world-th image from the r-th on; none is repeated to fill up, and every rank gets the same
    number of batches, for which a rank with an image fewer may split its last one. Lightning leaves a
    DistributedSampler in place and tells it the epoch. Raises UserError where a rank would get no batch at all.

    Shuffled batches are trained on, and one image has no batch statistics: a last one shares with the batch before.
    Batches of two or three may be too small for that, and an epoch then leaves one or two images of a rank out.

    Examples:
        >>> from kd_lightning.data import ShardedBatches
        >>> ranks = [ShardedBatches(range(10), batch_size=4, num_replicas=2, rank=rank) for rank in (0, 1)]
        >>> sorted(position for batches in ranks for draw in batches for position in draw.positions)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        *,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed, drop_last)  # type: ignore[arg-type]
        self.size = len(dataset)
        self.batch_size = batch_size
        self.over = 0  # batches to leave out of the next epoch, where a training is taken up within it
        self.drawn: Tensor | None = None  # the order that it was given
        self.given: list[Tensor] = []  # what that has in each batch of this rank, int64 (B,)
        self._divide(self.size)

    def _divide(self, images: int) -> None:
        """How many batches an epoch of so many images has, and how small one may be."""
        fewest, most = images // self.num_replicas, -(-images // self.num_replicas)
        full = fewest // self.batch_size
        self.smallest = min(2, self.batch_size, max(1, fewest)) if self.shuffle else 1
        self.batches = full if self.drop_last else min(fewest // self.smallest, -(-most // self.batch_size))
        if self.batches == 0:
            raise UserError(
                f"data.batch_size={self.batch_size}: {images} images on {self.num_replicas} devices leave one without "
                f"a batch; take {'smaller batches, ' if self.drop_last else ''}fewer devices or more images"
            )

    def take(self, drawn: Tensor) -> None:
        """Have epochs hold these positions, int64 (N,) of all ranks together, in this order, some repeatedly perhaps.

        Raises UserError where a rank would get no batch.
        """
        self._divide(len(drawn))
        self.drawn = drawn
        mine = drawn[self.rank :: self.num_replicas]
        self.given = [mine[batch] for batch in self._slices(len(mine))]

    def order(self, epoch: int) -> Tensor:
        """Positions of all ranks together: int64 (N,)"""
        if self.drawn is not None:
            return self.drawn
        if not self.shuffle:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(fold(self.seed, epoch)))

    @property
    def repeats(self) -> bool:
        """Whether an epoch may hold a position several times."""
        return self.drawn is not None

    def __iter__(self) -> Iterator[Draw]:
        order = self.order(self.epoch)
        mine: list[int] = self._mine(order)
        repeats = self._mine(earlier_draws(order)) if self.repeats else None
        over, self.over = self.over, 0
        for number, batch in enumerate(self._slices(len(mine))):
            if number >= over:
                yield Draw(self.epoch, mine[batch], None if repeats is None else repeats[batch])

    def _mine(self, of_all: Tensor) -> list[int]:
        found: list[int] = of_all[self.rank :: self.num_replicas].tolist()
        return found

    def _slices(self, images: int) -> Iterator[slice]:
        """Where each of a rank's batches lies, of so many images."""
        start = 0
        for size in self.sizes(images):
            yield slice(start, start + size)
            start += size

    def sizes(self, images: int) -> list[int]:
        """How large each of a rank's batches is, of so many images: full, but for the last ones."""
        if self.drop_last or self.smallest > 1:
            images = min(images, self.batches * self.batch_size)
        sizes, left = [], images
        for behind in range(self.batches - 1, 0, -1):
            sizes.append(min(self.batch_size, left - self.smallest * behind))
            left -= sizes[-1]
        if sizes and images - self.batch_size * len(sizes) < self.smallest:
            both = sizes.pop() + left
            return [*sizes, both - both // 2, both // 2]
        return [*sizes, left]

    def __len__(self) -> int:
        return self.batches


def earlier_draws(drawn: Tensor) -> Tensor:
    """How often each of the positions was drawn before: int64 (N,) -> int64 (N,)

    Examples:
        >>> import torch
        >>> from kd_lightning.data.batches import earlier_draws
        >>> earlier_draws(torch.tensor([7, 3, 7, 7, 3]))
        tensor([0, 0, 1, 2, 1])
    """
    ordered, places = drawn.sort(stable=True)
    _, counts = ordered.unique_consecutive(return_counts=True)
    firsts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(drawn).scatter_(0, places, torch.arange(len(drawn)) - firsts)


class FixedBatches(ShardedBatches, SequentialSampler):  # type: ignore[misc]
    """The same batches every epoch: for evaluation, and for training under `overfit_batches`.

    Lightning replaces whatever is not a SequentialSampler there.

    Examples:
        >>> from kd_lightning.data import FixedBatches
        >>> [draw.positions for draw in FixedBatches(range(5), batch_size=2, shuffle=False)]
        [[0, 1], [2, 3], [4]]
    """

    def order(self, epoch: int) -> Tensor:
        return super().order(0)


class LateLoader(DataLoader[Batch]):
    """A loader that begins an epoch when its first batch is asked for.

    Lightning makes the iterator of a resumed training before it tells the sampler the epoch; workers would have drawn
    batches of another one by then.
    """

    def __iter__(self) -> Any:
        yield from super().__iter__()


def batched_loader(dataset: ImageSet, sampler: ShardedBatches, num_workers: int, pin_memory: bool) -> DataLoader[Batch]:
    """A loader that fetches each batch in one call; workers stay from epoch to epoch."""
    return LateLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )
