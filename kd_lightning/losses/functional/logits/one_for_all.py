"""One-for-all distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import cross_entropies
from kd_lightning.losses.functional.samples import Reduction, check_logits, check_target, has_label, sum_per_sample


def ofa(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    eps: float = 1.0,
    temperature: float = 1.0,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Adaptive target enhancement: -Σ over classes of [(p_t + 1_y)^ε - 1_y]·log p_s, mean over the labelled.

    p = softmax(logits/T), 1_y the label's one-hot vector. At ε=1 it is the cross-entropy with p_t; a larger ε weighs
    the label's class more, the sooner the surer the teacher is. Hao et al. 2023, arXiv:2310.19444.
    Shapes: both logits (B, C), target (B,) class indices, or (B, C) probabilities, whose largest is the label;
    -1 and -100 are no label. Returns a scalar, or (B,) for the reduction `none`: 0 for a sample without a label, which
    the mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import cross_entropy, ofa
        >>> student, teacher, target = torch.randn(4, 10), torch.randn(4, 10), torch.arange(4)
        >>> soft = cross_entropy(student, teacher.softmax(dim=1))
        >>> torch.testing.assert_close(ofa(student, teacher, target, eps=1.0), soft)
    """
    check_logits(student, teacher)
    check_target(student, target)
    labelled = has_label(target) if target.ndim == 1 else None
    label = (target.argmax(dim=1) if labelled is None else torch.where(labelled, target.long(), 0))[:, None]
    log_student, log_teacher = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    of_label = torch.expm1(eps * torch.log1p(log_teacher.gather(1, label).exp()))
    weight = (eps * log_teacher).exp().scatter(1, label, of_label)
    return sum_per_sample(cross_entropies(log_student, weight), labelled, reduction)
