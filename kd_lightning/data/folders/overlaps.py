"""One image file that stands in two places where it should not: in two classes, or in training and test."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kd_lightning.data.folders.listing import Found


def numbers(found: Sequence[Found]) -> Tensor:
    """The number of each file: int64 (N,)"""
    return torch.tensor([file for _, file in found])


def of_two_classes(found: Sequence[Found], labels: Tensor) -> str | None:
    """Which names stand for images of two classes, labels (N,); None where none does."""
    _, file = numbers(found).unique(return_inverse=True)
    lowest, highest = (
        torch.zeros_like(file).scatter_reduce(0, file, labels, how, include_self=False)[file]
        for how in ("amin", "amax")
    )
    both = (lowest != highest).nonzero().flatten().tolist()
    if not both:
        return None
    other = next(row for row in both if file[row] == file[both[0]] and labels[row] != labels[both[0]])
    return (
        f"{len(both)} names stand for images of two classes, such as {found[both[0]].name} and {found[other].name}, "
        "which are one file; remove the wrong ones"
    )


def of_two_splits(train: Tensor, other: Sequence[Found]) -> str | None:
    """Which images of another split are trained on, by the numbers of these (M,); None where none is."""
    shared = torch.isin(numbers(other), train).nonzero().flatten().tolist()
    if not shared:
        return None
    return (
        f"{len(shared)} of {len(other)} images are training images too, such as {other[shared[0]].name}; what is "
        "measured on them is learnt by heart"
    )
