"""Views: which of its variants an image shows in an epoch, as a pure function of integers."""

import math
from functools import lru_cache

from torch import Tensor

from kd_lightning.store.hashing import MASK, fold, scramble

SECOND_EPOCHS = 2 * 2**32  # added to an epoch's number, so that a second view is drawn apart from the first


def view_of(seed: int, epoch: int, index: Tensor, num_views: int, repeats: Tensor | None = None) -> Tensor:
    """The view that each image shows in an epoch: index int64 (B,) -> int64 (B,) in [0, num_views).

    `repeats` (B,) says how often each was drawn before in the epoch: it shows another view each time, until it has
    shown all. The same on any device and for any batch the index stands in; num_views is at most 2**31.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import view_of
        >>> views = view_of(seed=0, epoch=3, index=torch.arange(4), num_views=162)
        >>> torch.equal(views, view_of(seed=0, epoch=3, index=torch.arange(8), num_views=162)[:4])  # whatever the batch
        True
    """
    views = scramble(scramble(index & MASK) ^ fold(seed, epoch)) % num_views
    return views if repeats is None else (views + repeats * stride(num_views)) % num_views


def another_view(seed: int, epoch: int, index: Tensor, views: Tensor, num_views: int) -> Tensor:
    """Another view of each image than the one that it shows: index and views int64 (B,) -> int64 (B,)

    Each of the others is equally likely; where there is one view alone, it is that. The same on any device and for any
    batch the index stands in.

    Examples:
        >>> import torch
        >>> from kd_lightning.data.views import another_view, view_of
        >>> index = torch.arange(1000)
        >>> views = view_of(seed=0, epoch=3, index=index, num_views=2)
        >>> torch.equal(another_view(0, 3, index, views, num_views=2), 1 - views)
        True
    """
    return (views + 1 + view_of(seed, epoch + SECOND_EPOCHS, index, max(1, num_views - 1))) % num_views


@lru_cache
def stride(num_views: int) -> int:
    """How far the next view of an image is: by the golden ratio, and so that none comes again before all have come."""
    return next(step for step in range(round(num_views * 0.618), 2 * num_views + 1) if math.gcd(step, num_views) == 1)
