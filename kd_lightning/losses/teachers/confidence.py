"""A loss on the features of several teachers, as a module."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.functional.samples import Reduction


class CAMKD(nn.Module):
    """CA-MKD's loss on features; see `functional.ca_mkd`. It takes what all members of an ensemble give, as lists.

    Takes the student's map embedded for each teacher (give its term a projector), the teachers' (B, D_k, H, W), the
    weights (C, D_k) and biases (C,) of their classifiers, in front of which maps are pooled, and the target (B,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CAMKD
        >>> student, teachers = ([torch.rand(2, width, 4, 4) for width in (16, 32)] for _ in range(2))
        >>> classifiers = [torch.nn.Linear(width, 10) for width in (16, 32)]
        >>> weights, biases = [one.weight for one in classifiers], [one.bias for one in classifiers]
        >>> CAMKD()(student, teachers, weights, biases, torch.tensor([3, 7])).shape
        torch.Size([])
    """

    all_at_once = True
    outputs = "classes"

    def build(
        self,
        student: Sequence[Tensor],
        teachers: Sequence[Tensor],
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        target: Tensor,
    ) -> None:
        """Raise UserError for the signals of one teacher alone, and for what its classifier does not take."""
        if isinstance(teachers, Tensor):
            raise UserError(
                "signals: weighs several teachers by their classifiers, and gets one; choose teacher=ensemble, and a "
                "plan in which all learn from it, such as plan=distillation"
            )
        for feature, weight in zip(teachers, weights, strict=True):
            width = weight.shape[1]
            if feature.ndim not in (2, 4) or feature.shape[1] != width:
                raise UserError(
                    f"signals={tuple(feature.shape[1:])} and a classifier of {width}: takes maps (B, D, H, W) "
                    "or vectors (B, D) in front of a classifier of their D; name such ones in taps"
                )

    def forward(
        self,
        student: Sequence[Tensor],
        teachers: Sequence[Tensor],
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        target: Tensor,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        logits = [
            F.linear(feature if feature.ndim == 2 else feature.mean(dim=(2, 3)), weight, bias)
            for feature, weight, bias in zip(student, weights, biases, strict=True)
        ]
        return functional.ca_mkd(student, teachers, logits, target, reduction=reduction)
