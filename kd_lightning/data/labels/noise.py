"""Wrong labels of a known share, for research on what learns in spite of them."""

import torch
from torch import Tensor

from kd_lightning.losses.functional.samples import has_label
from kd_lightning.store.hashing import fold

NOISE = 20_252  # tells these random numbers from others of the same seed


def mislabelled(targets: Tensor, rows: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """The labels of all images (N,), of which so large a share of those in `rows` (M,) is wrong: int64 (N,)

    Symmetric noise: each wrong label is one of the other classes, all equally likely (van Rooyen, Menon, Williamson
    2015, arXiv:1505.07634). As many are wrong as the share says, rounded; which, and what they become, follows from the
    seed. A larger share has those of a smaller one wrong, too. Images without a label have none afterwards.

    Examples:
        >>> import torch
        >>> from kd_lightning.data.labels.noise import mislabelled
        >>> targets = torch.arange(10).repeat(10)
        >>> int((mislabelled(targets, torch.arange(50), 0.2, classes=10, seed=0) != targets).sum())
        10
    """
    generator = torch.Generator().manual_seed(fold(seed, NOISE))
    order = torch.randperm(len(targets), generator=generator)
    further = torch.randint(1, classes, (len(targets),), generator=generator)
    is_used = torch.zeros_like(targets, dtype=torch.bool)
    is_used[rows] = True
    candidates = order[(is_used & has_label(targets))[order]]
    wrong = candidates[: round(share * len(candidates))]
    changed = targets.clone()
    changed[wrong] = (targets[wrong] + further[wrong]) % classes
    return changed
