"""Losses on logits."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, mean over the batch.

    With smoothing e the label's distribution is (1-e)·onehot + e/C (Szegedy et al. 2016, arXiv:1512.00567).
    Shapes: logits (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar.
    """
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing)


def kd(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Soft targets: T²·KL(softmax(teacher/T) ‖ softmax(student/T)), sum over classes, mean over the batch.

    Hinton, Vinyals, Dean 2015, arXiv:1503.02531. T² keeps the gradient's size the same for every temperature.
    Shapes: both (B, C). Returns a scalar.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def mean_squared_logits(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over batch and classes of (student - teacher)², the logits' squared distance.

    Ba, Caruana 2014, arXiv:1312.6184. Shapes: both (B, C). Returns a scalar.
    """
    return F.mse_loss(student, teacher)
