"""Class-wise self-distillation: what a network says of another image of the class is its soft target."""

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import divergence, soften
from kd_lightning.losses.functional.samples import Reduction, check_logits, check_target, has_label


def cs_kd(
    logits: Tensor,
    partner: Tensor,
    target: Tensor,
    temperature: float | Tensor = 4.0,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """CS-KD: T²·KL(softmax(z'/T) ‖ softmax(z/T)), sum over classes, mean over the labelled, z' of the partner.

    The partner x' is another image of x's class; it is the target, so no gradient goes through z'.
    Yun, Park, Lee, Shin 2020, arXiv:2003.13964.
    Shapes: both logits (B, C), target (B,) class indices, or (B, C) probabilities; -1 and -100 are no label, and their
    samples no partner. Returns a scalar, or (B,) for the reduction `none`: 0 for a sample without a label, which the
    mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import cs_kd
        >>> logits, partner = torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 1.0], [9.0, 1.0]])
        >>> cs_kd(logits, partner, torch.tensor([0, -1]), temperature=2.0)  # the second sample has no label
        tensor(0.4898)
    """
    check_logits(logits, partner)
    check_target(logits, target)
    labelled = has_label(target) if target.ndim == 1 else None
    log_p = F.log_softmax(soften(partner.detach(), temperature), dim=1)
    log_q = F.log_softmax(soften(logits, temperature), dim=1)
    return temperature**2 * divergence(log_p, log_q, labelled, reduction)
