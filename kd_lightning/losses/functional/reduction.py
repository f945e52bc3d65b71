"""From values of a batch to a mean over its samples, or to each sample's value."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "none"]


def check_reduction(reduction: str) -> None:
    """ValueError unless this is `mean` or `none`."""
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
