"""Views: which of its variants an image shows in an epoch, as a pure function of integers."""

from torch import Tensor

from kd_lightning.store.hashing import MASK, fold, scramble


def view_of(seed: int, epoch: int, index: Tensor, num_views: int) -> Tensor:
    """The view that each image shows in an epoch: index int64 (B,) -> int64 (B,) in [0, num_views).

    The same on any device and for any batch the index stands in; num_views is at most 2**31.

    Examples:
        >>> import torch
        >>> from kd_lightning.data import view_of
        >>> views = view_of(seed=0, epoch=3, index=torch.arange(4), num_views=162)
        >>> torch.equal(views, view_of(seed=0, epoch=3, index=torch.arange(8), num_views=162)[:4])  # whatever the batch
        True
    """
    return scramble(scramble(index & MASK) ^ fold(seed, epoch)) % num_views
