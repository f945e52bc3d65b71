"""Losses on logits by which a network learns from soft labels without a teacher: of its own, or made by hand."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import cross_entropies, divergence
from kd_lightning.losses.functional.samples import (
    Reduction,
    as_probabilities,
    check_logits,
    check_target,
    has_label,
    sum_per_sample,
)

SMOOTHING = 0.1  # of the labels that USKD's weak classifier learns from


def ps_kd(logits: Tensor, target: Tensor, past: Tensor, share: float = 0.8, *, reduction: Reduction = "mean") -> Tensor:
    """Progressive self-distillation: cross-entropy with (1 - α)·y + α·p, mean over the samples that have a label.

    p are the network's own probabilities for the sample in an epoch before, without gradient; a row of zeros is none
    yet, and then y counts alone. α, the share, rises as α_T·(e + 1)/E over the epochs e = 0, …, E - 1, with α_T = 0.8.
    Kim et al. 2021 (ICCV), arXiv:2006.12000.
    Shapes: logits and past (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar, or (B,) for
    the reduction `none`: 0 for a sample without a label. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import ps_kd
        >>> logits, target = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0])
        >>> past = torch.tensor([[0.5, 0.5], [0.0, 0.0]])  # of the second sample none is known
        >>> ps_kd(logits, target, past, share=0.5, reduction="none")
        tensor([0.6269, 0.1269])
    """
    check_logits(logits, past)
    check_target(logits, target)
    labels, labelled = _labels(logits, target)
    with torch.no_grad():
        is_known = past.sum(dim=1, keepdim=True) > 0
        soft = torch.where(is_known, (1 - share) * labels + share * past, labels)
    return sum_per_sample(cross_entropies(F.log_softmax(logits, dim=1), soft), labelled, reduction)


def virtual_teacher(
    logits: Tensor,
    target: Tensor,
    correct: float = 0.99,
    temperature: float = 20.0,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """A hand-made teacher, Tf-KD_reg: KL(softmax(u/T) ‖ softmax(logits)), sum over classes, mean over the batch.

    u gives the label `correct` and each other class (1 - correct)/(C - 1). As in the authors' code
    (yuanli2333/Teacher-free-Knowledge-Distillation), u itself is softened, not its logarithm, and the student is not.
    Yuan et al. 2020, arXiv:1909.11723. That code has `KLDivLoss()`, which also divides by C, and a multiplier that
    takes it back: of α and a multiplier m there, the weight here is α·m/C.
    Shapes: logits (B, C), target (B,) class indices or (B, C) probabilities. Returns a scalar, or (B,) for the
    reduction `none`: 0 for a sample without a label, which the mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import virtual_teacher
        >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> virtual_teacher(logits, target)
        tensor(0.4096)
        >>> virtual_teacher(torch.tensor([[0.99, 0.01]]) / 20, target)  # the teacher itself
        tensor(0.)
    """
    check_logits(logits)
    check_target(logits, target)
    labels, labelled = _labels(logits, target)
    wrong = (1 - correct) / (logits.shape[1] - 1)
    log_teacher = F.log_softmax((wrong + (correct - wrong) * labels) / temperature, dim=1)
    return divergence(log_teacher, F.log_softmax(logits, dim=1), labelled, reduction)


def uskd(
    logits: Tensor,
    weak: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 0.1,
    mu: float = 0.005,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Universal self-distillation: α·L_target + β·L_others + μ·L_weak, mean over the samples that have a label.

    With p = softmax(logits), w = softmax(weak) of a classifier in the middle of the network, and the label y:

    - L_target = -(1 + p_y² - m)·log p_y, m the mean of p_y² over the batch.
    - L_others = -Σ_{c≠y} z_c·log p̂_c, p̂ the softmax of the logits without y's, z_c ∝ 1/rank: Zipf's law, over the ranks
      of w_c/(1 - w_y + ε) + log p_c/(1 - log p_y + ε) among all classes, with ε = 1e-6.
    - L_weak = the cross-entropy of w with labels smoothed by 0.1.

    All soft labels are without gradient. The published numbers belong to the authors' code (yzd-v/cls_KD), which ranks
    by the student's log-probabilities beside the weak classifier's probabilities; so it is here. Zipf's law gives each
    class a share, so there is no value for a class whose logit is -inf. The cross-entropy beside it is a term of its
    own. Yang et al. 2023 (ICCV), arXiv:2303.13005.
    Shapes: logits and weak (B, C), target (B,) class indices. Returns a scalar, or (B,) for the reduction `none`: 0
    for a sample without a label. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import uskd
        >>> logits, weak = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> uskd(logits, weak, torch.tensor([0]))  # 0.4076 + 0.1·0.7133 + 0.005·0.6181
        tensor(0.4820)
    """
    check_logits(logits, weak)
    check_target(logits, target)
    labelled = has_label(target)
    label = torch.where(labelled, target.long(), 0)
    log_p, log_w = F.log_softmax(logits, dim=1), F.log_softmax(weak, dim=1)
    own = log_p.gather(1, label[:, None])[:, 0]
    is_label = F.one_hot(label, logits.shape[1]).bool()
    with torch.no_grad():
        squared = own.exp() ** 2
        smoothed = squared + 1 - sum_per_sample(squared, labelled)
        zipf = _zipf(log_w.exp(), label, log_p, own).masked_fill(is_label, 0.0)
        zipf = zipf / zipf.sum(dim=1, keepdim=True)
    others = cross_entropies(F.log_softmax(logits.masked_fill(is_label, -math.inf), dim=1), zipf)
    by_weak = F.cross_entropy(weak, label, label_smoothing=SMOOTHING, reduction="none")
    return sum_per_sample(beta * others + mu * by_weak - alpha * smoothed * own, labelled, reduction)


def _zipf(weak: Tensor, label: Tensor, log_p: Tensor, own: Tensor) -> Tensor:
    """1/rank of each class, (B, C), by what both classifiers make of it."""
    rest_weak = 1 - weak.gather(1, label[:, None]) + 1e-6
    score = weak / rest_weak + log_p / (1 - own[:, None] + 1e-6)
    return 1 / (score.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1).to(weak.dtype)


def _labels(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Probabilities (B, C) of class indices, 0 throughout without a label, and which have one; else what they are."""
    if target.ndim == 2:
        return target.to(logits.dtype), None
    return as_probabilities(target, logits), has_label(target)
