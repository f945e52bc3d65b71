"""Losses on logits of classes that exclude none: each class is a yes or a no by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import divergence, soften
from kd_lightning.losses.functional.samples import Reduction, check_logits, has_label, sum_per_sample


def bce(logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Binary cross-entropy of each class, -y·log σ(z) - (1-y)·log(1-σ(z)), 0·log 0 being 0: mean over a sample's
    labelled classes, then over the samples that have one; 0 where none has.

    Where all are labelled it is the mean over batch and classes. A class of -1 or -100 has no label; so has a sample
    all of whose classes have none (Durand, Mehrasa, Mori 2019, arXiv:1902.09720, normalise by the labelled share).
    Shapes: logits (B, C), target (B, C), 0 and 1 or what lies between. Returns a scalar, or (B,) for the reduction
    `none`: 0 for a sample without a label, which the mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import bce
        >>> bce(torch.zeros(1, 3), torch.tensor([[1, 0, -1]]))  # the third class has no label
        tensor(0.6931)
    """
    check_logits(logits)
    check_multi_hot(logits, target)
    labelled = has_label(target)
    y = torch.where(labelled, target, 0).to(logits.dtype)
    yes = y * F.logsigmoid(logits).masked_fill(y == 0, 0.0)
    no = (1 - y) * F.logsigmoid(-logits).masked_fill(y == 1, 0.0)
    classes = labelled.sum(dim=1)
    values = torch.where(labelled, -(yes + no), 0.0) / classes.clamp(min=1)[:, None]
    return sum_per_sample(values, classes > 0, reduction)


def bernoulli_kd(
    student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """Soft targets of each class by itself: T²·KL(Bernoulli(σ(t/T)) ‖ Bernoulli(σ(s/T))), mean over classes and batch.

    The divergence of Yang et al. 2023, arXiv:2308.06453, who take T = 1 and the sum over classes, C times the mean. At
    T = 1 it is the binary cross-entropy with the teacher's probabilities, less their entropy. A class that the teacher
    masks with -inf costs nothing where the student masks it too.
    Shapes: both (B, C), the temperature a number or a tensor of one. Returns a scalar, or (B,) for the reduction
    `none`. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import bernoulli_kd
        >>> student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -1.0]])
        >>> bernoulli_kd(student, teacher)
        tensor(0.2311)
    """
    check_logits(student, teacher)
    log_student, log_teacher = (_log_yes_and_no(soften(logits, temperature)) for logits in (student, teacher))
    return temperature**2 * divergence(log_teacher, log_student, reduction=reduction) / student.shape[1]


def check_multi_hot(logits: Tensor, target: Tensor) -> None:
    """ValueError unless the target has a number for each class, in the shape of the logits (B, C)."""
    if target.shape != logits.shape:
        raise ValueError(
            f"target of shape {tuple(target.shape)}: logits {tuple(logits.shape)} of several labels need 0 or 1 for "
            f"each class, {tuple(logits.shape)}"
        )


def _log_yes_and_no(logits: Tensor) -> Tensor:
    """log σ(z) and log(1 - σ(z)), (B, 2C), of logits (B, C)."""
    return torch.cat([F.logsigmoid(logits), F.logsigmoid(-logits)], dim=1)
