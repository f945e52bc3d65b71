"""The samples of a batch: logits in a row for each, which of them have a label, and the mean over them."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "none"]

NO_LABEL = (-1, -100)


def check_logits(student: Tensor, *others: Tensor) -> None:
    """ValueError unless all are logits (N, C) of equal shape."""
    for logits in (student, *others):
        if logits.ndim != 2:
            raise ValueError(
                f"logits of shape {tuple(logits.shape)}: a loss on logits takes (N, C), one row of classes for each "
                "sample; flatten tokens or pixels into rows"
            )
    for logits in others:
        if logits.shape != student.shape:
            raise ValueError(
                f"logits of different shapes cannot be compared, {tuple(student.shape)} and {tuple(logits.shape)}; "
                "take a teacher that knows the student's classes"
            )


def check_target(logits: Tensor, target: Tensor) -> None:
    """ValueError unless the target holds class indices (N,), or probabilities in the shape of the logits (N, C)."""
    is_index = target.shape == logits.shape[:1] and not target.is_floating_point()
    if not is_index and not (target.shape == logits.shape and target.is_floating_point()):
        kind = str(target.dtype).removeprefix("torch.")
        raise ValueError(
            f"target of shape {tuple(target.shape)} and type {kind}: logits {tuple(logits.shape)} need class indices "
            f"({len(logits)},), whole numbers, or probabilities {tuple(logits.shape)}"
        )


def has_label(target: Tensor) -> Tensor:
    """Which samples have a label, (N,): -1 and -100 stand for none."""
    return (target != NO_LABEL[0]) & (target != NO_LABEL[1])


def as_probabilities(target: Tensor, like: Tensor) -> Tensor:
    """The labels (B,) as probabilities (B, C) like others, 0 throughout without a label; no device waits for them."""
    labelled = has_label(target)
    place = torch.where(labelled, target.long(), 0)[:, None]
    return torch.zeros_like(like).scatter_(1, place, labelled[:, None].to(like.dtype))


def without_label_as(number: int, target: Tensor) -> Tensor:
    """The target (N,) as int64, with one number, -1 or -100, for all samples without a label."""
    (other,) = (none for none in NO_LABEL if none != number)
    target = target.long()
    return target.masked_fill(target == other, number)


def check_reduction(reduction: str) -> None:
    """ValueError unless this is `mean`, a scalar, or `none`, a value for each sample (N,)."""
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction={reduction}: must be mean, a scalar, or none, a value for each sample (N,)")


def sum_per_sample(values: Tensor, counted: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Each sample's sum of values (N, ...), (N,), or the mean of these sums over the samples, a scalar.

    Where `counted` (N,) is given, the other samples have the value 0, and the mean is the sum of all values divided by
    how many samples count, 0 of none. Raises ValueError for another reduction.
    """
    if counted is not None:
        rows = counted.view(-1, *[1] * (values.ndim - 1))
        values = torch.where(rows, values, 0.0)
    return reduced(values, counted, reduction)


def reduced(values: Tensor, counted: Tensor | None, reduction: Reduction) -> Tensor:
    """The same of values (N, ...) that are 0 already where a sample does not count. Raises ValueError likewise."""
    check_reduction(reduction)
    if reduction == "none":
        return values.flatten(1).sum(dim=1) if values.ndim > 1 else values
    return values.sum() / (len(values) if counted is None else counted.sum().clamp(min=1))


def mean_per_sample(values: Tensor, reduction: Reduction) -> Tensor:
    """Each sample's mean of values (N, ...), (N,), or the mean of all, a scalar. Raises ValueError likewise."""
    check_reduction(reduction)
    if reduction == "none":
        return values.flatten(1).mean(dim=1) if values.ndim > 1 else values
    return values.mean()


def squared_distance(a: Tensor, b: Tensor, reduction: Reduction) -> Tensor:
    """Each sample's mean of (a - b)², (N,), or the mean of all, a scalar; both (N, ...). ValueError likewise."""
    if reduction == "mean":
        return F.mse_loss(a, b)
    return mean_per_sample(F.mse_loss(a, b, reduction="none"), reduction)
