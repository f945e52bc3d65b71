"""Decoupled knowledge distillation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import divergence
from kd_lightning.losses.functional.samples import Reduction, check_logits, check_target, has_label


def dkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Decoupled distillation: T²·[α·KL(b_t ‖ b_s) + β·KL(n_t ‖ n_s)] at logits/T, mean over the labelled.

    b = (p_y, 1 - p_y), the label's class against the rest; n = softmax over the classes other than y. Both are formed
    from logits, so no logarithm meets a probability that has become 0. With two classes the second part is 0, and so it
    is where the teacher masks all the rest with -inf. A target of -1 or -100 is no label.
    Zhao et al. 2022, arXiv:2203.08679.
    Shapes: both logits (B, C), target (B,) class indices. Returns a scalar, or (B,) for the reduction `none`: 0 for a
    sample without a label, which the mean leaves out. ValueError for other shapes, such as targets (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import dkd
        >>> student, teacher = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[3.0, 0.0, 1.0]])
        >>> dkd(student, teacher, torch.tensor([0]), alpha=1.0, beta=0.0)  # both give the label's class the same
        tensor(0.)
        >>> bool(dkd(student, teacher, torch.tensor([0]), alpha=0.0, beta=1.0) > 0)
        True
    """
    check_logits(student, teacher)
    if target.ndim != 1:
        raise ValueError(f"dkd needs class indices (B,) as target, not a tensor of shape {tuple(target.shape)}")
    check_target(student, target)
    labelled = has_label(target)
    label = torch.where(labelled, target.long(), 0)
    binary_student, rest_student, _ = _decouple(student / temperature, label)
    binary_teacher, rest_teacher, alone = _decouple(teacher / temperature, label)
    return temperature**2 * (
        alpha * divergence(binary_teacher, binary_student, labelled, reduction)
        + beta * divergence(rest_teacher.masked_fill(alone, -math.inf), rest_student, labelled, reduction)
    )


def _decouple(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (B, 2) of the label's class and the rest, and (B, C-1) of the classes among the rest.

    And whether the label's class is alone (B, 1), all others masked; its rest is as if they were all equal.
    """
    target = target[:, None]
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    rest = logits.gather(1, others + (others >= target))
    alone = (rest == -math.inf).all(dim=1, keepdim=True)
    rest = rest.masked_fill(alone, 0.0)
    binary = torch.cat([logits.gather(1, target), rest.logsumexp(dim=1, keepdim=True).masked_fill(alone, -math.inf)], 1)
    return F.log_softmax(binary, dim=1), F.log_softmax(rest, dim=1), alone
