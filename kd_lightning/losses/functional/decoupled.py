"""Decoupled knowledge distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dkd(
    student: Tensor, teacher: Tensor, target: Tensor, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0
) -> Tensor:
    """Decoupled distillation: T²·[α·KL(b_t ‖ b_s) + β·KL(n_t ‖ n_s)] at logits/T, mean over the batch.

    b = (p_y, 1 - p_y), the label's class against the rest; n = softmax over the classes other than y. Both are formed
    from logits, so no logarithm meets a probability that has become 0. With two classes the second part is 0.
    Zhao et al. 2022, arXiv:2203.08679.
    Shapes: both logits (B, C), target (B,) class indices. Returns a scalar. ValueError for targets (B, C).
    """
    if target.ndim != 1:
        raise ValueError(f"dkd needs class indices (B,) as target, not a tensor of shape {tuple(target.shape)}")
    (binary_student, rest_student), (binary_teacher, rest_teacher) = (
        _decouple(logits / temperature, target) for logits in (student, teacher)
    )
    return temperature**2 * (
        alpha * F.kl_div(binary_student, binary_teacher, reduction="batchmean", log_target=True)
        + beta * F.kl_div(rest_student, rest_teacher, reduction="batchmean", log_target=True)
    )


def _decouple(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, 2) of the label's class and the rest, and (B, C-1) of the classes among the rest."""
    target = target[:, None]
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    rest = logits.gather(1, others + (others >= target))
    binary = torch.cat([logits.gather(1, target), rest.logsumexp(dim=1, keepdim=True)], dim=1)
    return F.log_softmax(binary, dim=1), F.log_softmax(rest, dim=1)
