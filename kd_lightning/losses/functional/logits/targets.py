"""Losses on logits that compare class by class: labels, soft targets, distances."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import cross_entropies, divergence, soften
from kd_lightning.losses.functional.samples import (
    Reduction,
    check_logits,
    check_reduction,
    check_target,
    has_label,
    mean_per_sample,
    squared_distance,
    sum_per_sample,
    without_label_as,
)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy with the labels, mean over the samples that have one; 0 where none has.

    With smoothing e the label's distribution is (1-e)·onehot + e/C (Szegedy et al. 2016, arXiv:1512.00567): it has no
    finite value for a class whose logit is -inf. A target of -1 or -100 is no label.
    Class weights w (C,) weigh each class's part of it: -Σ_c w_c·p_c·log softmax(logits)_c. The mean is over the number
    of samples, not over the sum of their weights, so that a batch of rare classes counts more than another.
    Shapes: logits (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar, or (B,) for the
    reduction `none`: 0 for a sample without a label, which the mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import cross_entropy
        >>> logits = torch.tensor([[0.0, 0.0], [9.0, 1.0]])
        >>> cross_entropy(logits, torch.tensor([1, -1]))  # the second sample has no label
        tensor(0.6931)
        >>> cross_entropy(logits, torch.tensor([1, -1]), reduction="none")
        tensor([0.6931, 0.0000])
    """
    check_logits(logits)
    check_target(logits, target)
    check_reduction(reduction)
    if target.ndim == 2:
        smoothed = target * (1 - label_smoothing) + label_smoothing / logits.shape[1] if label_smoothing else target
        weighted = smoothed if class_weights is None else smoothed * class_weights.to(smoothed.dtype)
        return mean_per_sample(cross_entropies(F.log_softmax(logits, dim=1), weighted), reduction)
    label = without_label_as(-100, target)
    weights = None if class_weights is None else class_weights.to(logits.dtype)
    summed = "sum" if reduction == "mean" else "none"
    values = F.cross_entropy(
        logits, label, weights, ignore_index=-100, label_smoothing=label_smoothing, reduction=summed
    )
    if reduction == "none":
        return values
    return values / (label != -100).sum().clamp(min=1)  # a mean over no sample would be no number


def hard_label(student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Hard distillation: the cross-entropy with the teacher's decision, CE(student, argmax teacher).

    Touvron et al. 2021, arXiv:2012.12877. Shapes: both (B, C). Returns a scalar, or (B,) for the reduction `none`.
    ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import hard_label
        >>> hard_label(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 3.0]]))
        tensor(0.6931)
    """
    check_logits(student, teacher)
    check_reduction(reduction)
    return F.cross_entropy(student, teacher.argmax(dim=1), reduction=reduction)


def kd(student: Tensor, teacher: Tensor, temperature: float | Tensor = 4.0, *, reduction: Reduction = "mean") -> Tensor:
    """Soft targets: T²·KL(softmax(teacher/T) ‖ softmax(student/T)), sum over classes, mean over the batch.

    Hinton, Vinyals, Dean 2015, arXiv:1503.02531. T² keeps the gradient's size the same for every temperature.
    A class that the teacher masks with -inf costs nothing; one that the student alone masks costs infinitely much.
    Shapes: both (B, C), the temperature a number or a tensor of one. Returns a scalar, or (B,) for the reduction
    `none`. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import kd
        >>> student, teacher = torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 1.0], [3.0, 3.0]])
        >>> kd(student, teacher, temperature=2.0)
        tensor(0.2449)
        >>> kd(student, teacher, temperature=2.0, reduction="none")  # the second predictions agree
        tensor([0.4898, 0.0000])
    """
    check_logits(student, teacher)
    log_student, log_teacher = (F.log_softmax(soften(logits, temperature), dim=1) for logits in (student, teacher))
    return temperature**2 * divergence(log_teacher, log_student, reduction=reduction)


def mean_squared_logits(student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Mean over batch and classes of (student - teacher)², the logits' squared distance.

    Ba, Caruana 2014, arXiv:1312.6184. It has no value for logits of -inf.
    Shapes: both (B, C). Returns a scalar, or (B,) for the reduction `none`. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mean_squared_logits
        >>> mean_squared_logits(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor(2.)
    """
    check_logits(student, teacher)
    return squared_distance(student, teacher, reduction)


def wsld(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float = 2.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """Weighted soft labels: the mean over labelled samples of (1 - exp(-CE_s/CE_t))·T²·CE(softmax(t/T), softmax(s/T)).

    CE_s and CE_t are the cross-entropies of student and teacher with the label; the weight has no gradient. Where the
    student does better than the teacher, the teacher counts less. The cross-entropy beside it is a term of its own.
    Zhou et al. 2021, arXiv:2102.00650; 1e-7 is added to CE_t as in the public code.
    Shapes: both logits (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar, or (B,) for the
    reduction `none`: 0 for a sample without a label, which the mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import wsld
        >>> worse, teacher, target = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0])
        >>> better = torch.tensor([[4.0, 0.0]])
        >>> bool(wsld(better, teacher, target) < wsld(worse, teacher, target))
        True
    """
    check_logits(student, teacher)
    check_target(student, target)
    labelled = has_label(target) if target.ndim == 1 else None
    label = target if labelled is None else torch.where(labelled, target.long(), 0)
    with torch.no_grad():
        hard_student, hard_teacher = (_each_cross_entropy(logits, label) for logits in (student, teacher))
        weight = -torch.expm1(-hard_student / (hard_teacher + 1e-7))
    soft = cross_entropies(F.log_softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1))
    return temperature**2 * sum_per_sample(weight * soft, labelled, reduction)


def _each_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """With class indices or probabilities, (B,)."""
    if target.ndim == 2:
        return cross_entropies(F.log_softmax(logits, dim=1), target)
    return F.cross_entropy(logits, target, reduction="none")
