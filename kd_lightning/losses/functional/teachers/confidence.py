"""Features of several teachers, each weighed by how well its classifier reads the student's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, squared_distance, sum_per_sample
from kd_lightning.losses.functional.teachers.weights import confidence_weights


def ca_mkd(
    student: Sequence[Tensor],
    teachers: Sequence[Tensor],
    logits: Sequence[Tensor],
    target: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """CA-MKD on features: Σ_k w_k·mean((r_k(f) - f_k)²), w_k = (1 - softmax_k(CE_k)) / (K - 1) in each sample.

    Zhang, Chen, Wang 2022, arXiv:2201.00007. CE_k is that of the student's embedded feature r_k(f) through teacher k's
    classifier, and the weights pass its gradient on, as in the authors' code, which divides by K besides. The FitNet
    baseline of that code makes a tensor anew of its losses, and so has no gradient; this one has.
    Shapes: of each of K teachers the student's embedded feature and the teacher's of one shape (B, D, …), and logits
    (B, C) of the former; target (B,). Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import ca_mkd
        >>> one, two = torch.ones(4, 8), torch.zeros(4, 8)
        >>> logits = [torch.zeros(4, 10), torch.zeros(4, 10)]
        >>> ca_mkd([one, one], [one, two], logits, torch.zeros(4, dtype=torch.long))  # (0 + 1) / 2
        tensor(0.5000)
    """
    weights = confidence_weights(torch.stack(list(logits)), target)
    distances = torch.stack([squared_distance(s, t, "none") for s, t in zip(student, teachers, strict=True)])
    return sum_per_sample((weights * distances).sum(dim=0), reduction=reduction)
