"""Self-distillation from the deepest classifier to early ones."""

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.losses.functional.logits.targets import cross_entropy, kd
from kd_lightning.losses.functional.samples import Reduction, check_logits, check_target, has_label, sum_per_sample
from kd_lightning.losses.functional.sizes import sum_of


def byot(
    heads: Sequence[Tensor],
    features: Sequence[Tensor],
    logits: Tensor,
    feature: Tensor,
    target: Tensor,
    alpha: float = 0.1,
    temperature: float | Tensor = 3.0,
    beta: float = 1.28e-4,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Be your own teacher: Σ over early heads of (1-α)·CE(z_i, y) + α·T²·KL(p ‖ p_i) + β·‖F_i - F‖².

    z_i and F_i are a head's logits and what enters its classifier, p_i = softmax(z_i/T); p and F the deepest
    classifier's, which is the teacher, so no gradient goes through them. The mean is over the labelled samples; ‖·‖² is
    a sample's sum over its features. Public code (luanyunteng/pytorch-be-your-own-teacher) sums this over the batch
    with β = 1e-6, which is 1.28e-4 here for its batch of 128. The deepest classifier's own cross-entropy is a term of
    its own. Zhang et al. 2019, arXiv:1905.08094.
    Shapes: z_i and logits (B, C), F_i and feature (B, D), target (B,) class indices, or (B, C) probabilities; -1 and
    -100 are no label. Returns a scalar, or (B,) for the reduction `none`: 0 for a sample without a label, which the
    mean leaves out. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import byot
        >>> logits, feature, target = torch.zeros(2, 10), torch.ones(2, 4), torch.tensor([3, 9])
        >>> byot([logits], [feature], logits, feature, target, alpha=0.0)  # agrees with its teacher: log 10
        tensor(2.3026)
    """
    check_logits(logits, *heads)
    check_target(logits, target)
    labelled = has_label(target) if target.ndim == 1 else None
    logits, feature = logits.detach(), feature.detach()
    values = [
        (1 - alpha) * cross_entropy(z, target, reduction="none")
        + alpha * kd(z, logits, temperature, reduction="none")
        + beta * (f - feature).square().sum(dim=1)
        for z, f in zip(heads, features, strict=True)
    ]
    return sum_per_sample(sum_of(values), labelled, reduction)
