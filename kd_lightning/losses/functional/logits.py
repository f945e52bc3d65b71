"""Losses on logits that compare class by class: labels, soft targets, distances."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, mean over the batch.

    With smoothing e the label's distribution is (1-e)·onehot + e/C (Szegedy et al. 2016, arXiv:1512.00567).
    Shapes: logits (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar.
    """
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing)


def hard_label(student: Tensor, teacher: Tensor) -> Tensor:
    """Hard distillation: the cross-entropy with the teacher's decision, CE(student, argmax teacher).

    Touvron et al. 2021, arXiv:2012.12877. Shapes: both (B, C). Returns a scalar.
    """
    return F.cross_entropy(student, teacher.argmax(dim=1))


def kd(student: Tensor, teacher: Tensor, temperature: float | Tensor = 4.0) -> Tensor:
    """Soft targets: T²·KL(softmax(teacher/T) ‖ softmax(student/T)), sum over classes, mean over the batch.

    Hinton, Vinyals, Dean 2015, arXiv:1503.02531. T² keeps the gradient's size the same for every temperature.
    Shapes: both (B, C), the temperature a number or a tensor of one. Returns a scalar.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def mean_squared_logits(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over batch and classes of (student - teacher)², the logits' squared distance.

    Ba, Caruana 2014, arXiv:1312.6184. Shapes: both (B, C). Returns a scalar.
    """
    return F.mse_loss(student, teacher)


def wsld(student: Tensor, teacher: Tensor, target: Tensor, temperature: float = 2.0) -> Tensor:
    """Weighted soft labels: the mean over the batch of (1 - exp(-CE_s/CE_t))·T²·CE(softmax(t/T), softmax(s/T)).

    CE_s and CE_t are the cross-entropies of student and teacher with the label; the weight has no gradient. Where the
    student does better than the teacher, the teacher counts less. The cross-entropy beside it is a term of its own.
    Zhou et al. 2021, arXiv:2102.00650; 1e-7 is added to CE_t as in the public code.
    Shapes: both logits (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar.
    """
    with torch.no_grad():
        hard_student, hard_teacher = (F.cross_entropy(z, target, reduction="none") for z in (student, teacher))
        weight = -torch.expm1(-hard_student / (hard_teacher + 1e-7))
    soft = F.cross_entropy(student / temperature, F.softmax(teacher / temperature, dim=1), reduction="none")
    return temperature**2 * (weight * soft).mean()
