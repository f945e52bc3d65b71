"""Which rows of the training images are trained on, and which validated on."""

import torch
from torch import Tensor

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


def split_training(
    targets: Tensor, *, val_fraction: float, train_samples: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """targets (N,) -> the rows to train on and the rows to validate on: int64, ascending.

    Validation is drawn first and does not depend on the seed; of what is left, train_samples are drawn by it.
    Raises UserError where too few images are there for either.
    """
    rows = torch.arange(len(targets))
    held_out = stratified(targets, round(len(rows) * val_fraction), SPLIT_SEED)
    if val_fraction > 0 and not 0 < len(held_out) < len(rows):
        raise UserError(
            f"data.val_fraction={val_fraction}: takes {len(held_out)} of {len(rows)} training images; "
            "take another fraction, or 0 to validate on the test set"
        )
    used = without(rows, held_out)
    if train_samples is None:
        return used, held_out
    if train_samples > len(used):
        raise UserError(
            f"data.train_samples={train_samples}: only {len(used)} images are left to train on; "
            "take fewer, or null for all"
        )
    return used[stratified(targets[used], train_samples, seed)], held_out
