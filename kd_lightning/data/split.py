"""Which rows of the training images are trained on, which validated on, and which a quiz beside the training has."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from kd_lightning.batch import Batch
from kd_lightning.data.labels.balanced import check_labelled, long_tailed
from kd_lightning.errors import UserError

if TYPE_CHECKING:
    from kd_lightning.data.module import ImageDataModule

    Images = TypeVar("Images", bound=ImageDataModule)

SPLIT_SEED = 20_251  # of the validation split and of a quiz, which are the same whatever the run's seed
TAUGHT, QUIZ = "taught", "quiz"  # the streams of the training data


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


def with_quiz(data: Images, share: float) -> Images:
    """The same data with a share of the training images, classes in proportion, as a second stream `quiz`.

    Its batches are as large as those of the first one, and augmented likewise; shorter than that, it comes again within
    an epoch. Raises UserError where it has no batch, or leaves none.
    """
    data.setup()
    images = data.train_set
    count = round(share * len(images))
    if not 1 < count < len(images):
        raise UserError(
            f"quiz={share}: takes {count} of {len(images)} training images; take another share, so that both have two "
            "or more"
        )
    held = stratified(images.targets, count, SPLIT_SEED)
    changed = copy.copy(data)
    changed.train_set = replace(images, rows=without(images.rows, held))
    changed.quiz_set = replace(images, rows=images.rows[held], strong=None, mixing=None, beside=())
    vars(changed).pop("streams", None)  # those of the data without
    return changed


def loaders_with_quiz(data: ImageDataModule, taught: Any) -> dict[str, Any]:
    """The loader of the training images, and that of the quiz."""
    images = data.quiz_set
    assert images is not None
    return {TAUGHT: taught, QUIZ: data.loader(images, min(data.batch_size, len(images)), shuffle=True)}


def examples_with_quiz(example: Batch) -> dict[str, Batch]:
    """An example of each stream."""
    labelled = {**example, "target": torch.zeros_like(example["index"])}
    return {TAUGHT: labelled, QUIZ: labelled}
