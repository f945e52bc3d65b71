"""Data whose classes differ in how many samples they have: drawn as if they did not, or made so."""

import torch
from torch import Tensor

from kd_lightning.data.batches import ShardedBatches
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import has_label
from kd_lightning.store.hashing import fold

BALANCED = "balanced"


def balanced_draw(targets: Tensor, seed: int, epoch: int) -> Tensor:
    """Positions in targets (N,), drawn with replacement: first a class, then one of its samples: int64 (N,)

    Each class that occurs is equally likely, and so is each sample of a class. A function of its arguments alone.

    Examples:
        >>> import torch
        >>> from kd_lightning.data.labels.balanced import balanced_draw
        >>> targets = torch.tensor([0] * 990 + [1] * 10)
        >>> round(targets[balanced_draw(targets, seed=0, epoch=0)].float().mean().item(), 1)
        0.5
    """
    generator = torch.Generator().manual_seed(fold(seed, epoch))
    by_class = torch.argsort(targets, stable=True)
    _, sizes = targets.unique(return_counts=True)
    drawn = torch.randint(len(sizes), (len(targets),), generator=generator)
    places = torch.rand(len(targets), dtype=torch.float64, generator=generator) * sizes[drawn]
    return by_class[(sizes.cumsum(0) - sizes)[drawn] + places.long()]


def equally_often(targets: Tensor) -> Tensor:
    """Positions in targets (N,) that hold each class as often as the most frequent one has samples: int64 (M,)

    >>> import torch
    >>> from kd_lightning.data.labels.balanced import equally_often
    >>> equally_often(torch.tensor([0, 0, 0, 1]))
    tensor([0, 1, 2, 3, 3, 3])
    """
    by_class = torch.argsort(targets, stable=True)
    _, sizes = targets.unique(return_counts=True)
    turns = torch.arange(int(sizes.max())) % sizes[:, None]
    return by_class[((sizes.cumsum(0) - sizes)[:, None] + turns).flatten()]


class BalancedBatches(ShardedBatches):
    """Batches in which each class is equally likely, however many samples it has: an epoch draws with replacement.

    What it draws is a function of (seed, epoch), the same on all ranks, which take turns in it. A sample that is drawn
    again shows another view. Raises UserError where a sample has no label.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import BalancedBatches, ImageSet, MemoryImages
        >>> images = MemoryImages(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1]))
        >>> batches = BalancedBatches(ImageSet(images, torch.arange(8)), batch_size=4)
        >>> sum(len(draw.positions) for draw in batches)
        8
    """

    @property
    def repeats(self) -> bool:
        return True

    def order(self, epoch: int) -> Tensor:
        if self.drawn is not None:
            return self.drawn
        return balanced_draw(self.targets, self.seed, epoch)

    @property
    def targets(self) -> Tensor:
        """int64 (N,)"""
        found: Tensor = self.dataset.targets  # type: ignore[attr-defined]
        return found


def check_labelled(key: str, targets: Tensor) -> None:
    """Raise UserError where a training sample has no label, and so no class to be balanced."""
    missing = int((~has_label(targets)).sum())
    if missing:
        raise UserError(
            f"{key}: {missing} of {len(targets)} training images have no label, and so no class; label them, or leave "
            "it out"
        )


def long_tailed(targets: Tensor, imbalance: float, classes: int, seed: int) -> Tensor:
    """Positions in targets (N,) whose classes, by their label, become rarer: int64 (M,), ascending.

    Class c of C has n_c = n_max·μ^(c/(C-1)) samples, rounded down, μ = 1/imbalance, where n_max is as large as the
    data allow: the size of class 0 in data that are balanced (Cui et al. 2019, arXiv:1901.05555). Which samples these
    are follows from the seed. Raises UserError where a class would be left without any.
    """
    sizes = torch.bincount(targets, minlength=classes).tolist()
    profile = [(1 / imbalance) ** (label / (classes - 1)) for label in range(classes)]
    largest = min(size / share for size, share in zip(sizes, profile, strict=True))
    counts = [int(largest * share + 1e-9) for share in profile]  # which may miss a whole number by rounding
    if min(counts) < 1:
        label = counts.index(min(counts))
        raise UserError(
            f"data.imbalance={imbalance:g}: leaves class {label} of {classes} without an image, of the {sizes[label]} "
            "that it has to train on; take less"
        )
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    of_class = [order[targets[order] == label][:count] for label, count in enumerate(counts)]
    return torch.cat(of_class).sort().values
