"""What each class counts in a loss: given numbers, or the inverse of its share of the training labels."""

import math
from typing import Any

import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import has_label

BALANCED = "balanced"


def given_weights(class_weights: Any) -> Tensor | None:
    """Given numbers as a tensor (C,); None of none, and of `balanced`. Raises `UserError` for anything else."""
    if class_weights is None or class_weights == BALANCED:
        return None
    try:
        weights = [float(weight) for weight in class_weights if not isinstance(weight, (bool, str))]
        fits = len(weights) == len(class_weights) > 0 and all(0 <= weight < math.inf for weight in weights)
    except (TypeError, ValueError):
        fits = False
    if not fits or isinstance(class_weights, str) or max(weights) == 0:
        raise UserError(
            f"class_weights={class_weights}: must be balanced, a list with a number of at least 0 for each class, not "
            "all of them 0, or null"
        )
    return torch.tensor(weights)


def balanced_weights(labels: Tensor | None, classes: int | None) -> Tensor:
    """N/(C·N_c) for each class c of these labels (N,), as scikit-learn's `balanced` has it: (C,)

    Samples without a label do not count; a class without a sample, of which no label is ever seen, has the weight 0.
    Their mean over the samples is 1 where all classes have some. Raises `UserError` where there are no labels.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.class_weights import balanced_weights
        >>> balanced_weights(torch.tensor([0, 0, 0, 1]), classes=2)
        tensor([0.6667, 2.0000])
    """
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        raise UserError(
            "loss.class_weights=balanced: the data do not tell the class of each training sample; give a number for "
            "each class, in a list"
        )
    if labels.is_meta:
        return torch.ones(classes or 1, device="meta")
    counts = torch.bincount(labels[has_label(labels)].long(), minlength=classes or 0)
    if not counts.any():
        raise UserError("loss.class_weights=balanced: no training sample has a label; leave the weights out")
    weights = counts.sum() / (len(counts) * counts.double().clamp(min=1))
    return torch.where(counts > 0, weights, 0.0).float()
