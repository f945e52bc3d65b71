"""Which rows of the training images are trained on, and which validated on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kd_lightning.data.labels.balanced import check_labelled, long_tailed
from kd_lightning.errors import UserError

SPLIT_SEED = 20_251  # of the validation split, which is the same whatever the run's seed


def quotas(sizes: Tensor, count: int) -> Tensor:
    """Share out `count` over classes in proportion to their sizes (K,), by largest remainder: int64 (K,)"""
    shares = sizes.double() * count / sizes.sum()
    whole = shares.floor().long()
    missing = count - int(whole.sum())
    whole[torch.argsort(whole - shares, stable=True)[:missing]] += 1
    return whole


def stratified(targets: Tensor, count: int, seed: int) -> Tensor:
    """`count` positions in targets (N,), drawn with each class in its proportion: int64 (count,), ascending.

    A function of its arguments alone; 0 <= count <= N.
    """
    assert 0 <= count <= len(targets), (count, len(targets))
    if count == 0:
        return torch.empty(0, dtype=torch.long)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    by_class = order[torch.argsort(targets[order], stable=True)]
    _, classes, sizes = targets.unique(return_inverse=True, return_counts=True)
    place_in_class = torch.arange(len(targets)) - (sizes.cumsum(0) - sizes)[classes[by_class]]
    return by_class[place_in_class < quotas(sizes, count)[classes[by_class]]].sort().values


def without(rows: Tensor, taken: Tensor) -> Tensor:
    """The rows (N,) at all positions but the taken (M,): int64 (N - M,)"""
    kept = torch.ones(len(rows), dtype=torch.bool)
    kept[taken] = False
    return rows[kept]


@dataclass(frozen=True)
class Split:
    """Which of a data set's training images are trained on, and which validated on.

    Args:
        val_fraction: the part to validate on.
        classes: how many there are.
        train_samples: train on so many of the others, classes in proportion; on all where None.
        imbalance: how many times as many images the first class has to train on as the last; None leaves them.
        seed: decides which images `train_samples` and `imbalance` leave.
    """

    val_fraction: float
    classes: int
    train_samples: int | None = None
    imbalance: float | None = None
    seed: int = 0

    def of(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """targets (N,) -> the rows to train on and the rows to validate on: int64, ascending.

        Validation is drawn first and depends neither on the seed nor on what is trained on. Raises UserError where too
        few images are there for either.
        """
        rows = torch.arange(len(targets))
        held_out = stratified(targets, round(len(rows) * self.val_fraction), SPLIT_SEED)
        if self.val_fraction > 0 and not 0 < len(held_out) < len(rows):
            raise UserError(
                f"data.val_fraction={self.val_fraction}: takes {len(held_out)} of {len(rows)} training images; "
                "take another fraction, or 0 to validate on the test set"
            )
        used = without(rows, held_out)
        if self.imbalance is not None:
            check_labelled(f"data.imbalance={self.imbalance:g}", targets[used])
            used = used[long_tailed(targets[used], self.imbalance, self.classes, self.seed)]
        if self.train_samples is None:
            return used, held_out
        if self.train_samples > len(used):
            raise UserError(
                f"data.train_samples={self.train_samples}: only {len(used)} images are left to train on; "
                "take fewer, or null for all"
            )
        return used[stratified(targets[used], self.train_samples, self.seed)], held_out
