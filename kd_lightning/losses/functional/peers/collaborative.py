"""A soft target that the predictions of several networks make together, and its distance to one of them."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import divergence, soften
from kd_lightning.losses.functional.samples import Reduction, as_probabilities, check_logits, check_target, has_label

Collaboration = Literal["naive", "linear", "minlogit", "general", "mean"]
COLLABORATIONS: tuple[Collaboration, ...] = ("naive", "linear", "minlogit", "general", "mean")
OF_LABELS = ("naive", "linear", "minlogit")  # a sample without a label has none of these

HALVINGS = 24  # of the share that moves between two weights: what float32 can tell
MOVES = 6  # of weight, for each network, where there are more than two


def kdcl(
    student: Tensor,
    others: Sequence[Tensor],
    target: Tensor,
    collaboration: Collaboration = "minlogit",
    temperature: float | Tensor = 2.0,
    weights: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Collaborative learning: T²·KL(softmax(z/T) ‖ softmax(student/T)), z the target that all of them make together.

    Guo et al. 2020, KDCL (CVPR, pages 11020-11029); see `collaborative_target` for z, which has no gradient. The
    cross-entropy beside it is a term of its own. The mean is over the samples that have a target: those with a label,
    but for `general` and `mean` all.
    Shapes: student (B, C), each of the others (B, C), target (B,) class indices or, but for `minlogit`, (B, C)
    probabilities. Returns a scalar, or (B,) for the reduction `none`. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import kdcl
        >>> student, better = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
        >>> kdcl(student, [better], torch.tensor([0]), "naive", temperature=1.0)
        tensor(0.1698)
        >>> kdcl(better, [student], torch.tensor([0]), "naive", temperature=1.0)  # it is the best itself
        tensor(0.)
    """
    with torch.no_grad():
        soft = collaborative_target([student, *others], target, collaboration, weights)
    log_student, log_soft = (F.log_softmax(soften(logits, temperature), dim=1) for logits in (student, soft))
    counted = has_label(target) if target.ndim == 1 and collaboration in OF_LABELS else None
    return temperature**2 * divergence(log_soft, log_student, counted, reduction)


def collaborative_target(
    logits: Sequence[Tensor],
    target: Tensor,
    collaboration: Collaboration = "minlogit",
    weights: Tensor | None = None,
) -> Tensor:
    """The logits (B, C) that several networks' make, sample by sample; Guo et al. 2020 (CVPR, pages 11020-11029).

    `naive`: those of the network whose cross-entropy with the label is least.
    `linear`: Σ α_k·z_k of the shares α ≥ 0, Σ α_k = 1, whose cross-entropy with the label is least; found by moving
    weight from the network that costs most to the one that costs least, as far as it helps.
    `minlogit`: min_k (z_k - z_k[label]), class by class, so that every class but the label gets the least that any has.
    `general`: Σ w_k·z_k of given weights, see `generalization_weights`; without any those are equal.
    `mean`: the mean of the logits, as mutual contrastive learning distils them (Yang et al. 2022, arXiv:2104.12565).
    The best of the peers is not the least of the logits, and a sum in place of the mean is another temperature: public
    code under this name has one or the other.
    Shapes: each (B, C), target (B,) class indices or, but for `minlogit`, (B, C) probabilities, weights (K,). What a
    sample without a label gets of the first three means nothing. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import collaborative_target
        >>> one, two, label = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0])
        >>> collaborative_target([one, two], label, "minlogit")
        tensor([[ 0., -2., -2.]])
        >>> collaborative_target([one, two], label, "mean")
        tensor([[2.0000, 0.5000, 0.5000]])
    """
    check_logits(*logits)
    check_target(logits[0], target)
    if collaboration not in COLLABORATIONS:
        raise ValueError(f"collaboration={collaboration}: must be one of {', '.join(COLLABORATIONS)}")
    stacked = torch.stack([*logits])
    if collaboration == "mean":
        return stacked.mean(dim=0)
    if collaboration == "general":
        shares = stacked.new_full((len(stacked),), 1 / len(stacked)) if weights is None else weights.to(stacked)
        mixture = (shares[:, None, None] * _finite(stacked)).sum(dim=0)
        return mixture.masked_fill((stacked == -torch.inf).any(dim=0), -torch.inf)
    if collaboration == "minlogit":
        if target.ndim != 1:
            raise ValueError(f"target of shape {tuple(target.shape)}: minlogit needs one class for each sample, (B,)")
        place = torch.where(has_label(target), target.long(), 0).expand(len(stacked), -1)
        return (stacked - _finite(stacked).gather(2, place[:, :, None])).amin(dim=0)
    wanted = target if target.ndim == 2 else as_probabilities(target, logits[0])
    if collaboration == "naive":
        best = _costs(stacked, wanted).argmin(dim=0)
        return stacked.gather(0, best.expand(stacked.shape[2], -1).T[None])[0]
    return _linear(stacked, wanted)


def generalization_weights(errors: Tensor) -> Tensor:
    """Weights (K,) of K networks whose mixture errs least: w_k = Σ_j C⁻¹_kj / Σ_ij C⁻¹_ij, of sum 1, perhaps negative.

    C (K, K) is their errors' correlation on data that they do not learn from, C_ij = mean over samples of
    (p_i - y)·(p_j - y), p their probabilities; Guo et al. 2020 (KDCL-General), after Perrone and Cooper 1992. Networks
    that err equally have no inverse: a millionth of the mean error is added to C's diagonal. Equal weights where no one
    errs. The host does not wait for the device. Shapes: errors (K, K). Returns (K,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import generalization_weights
        >>> generalization_weights(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        tensor([0.7500, 0.2500])
    """
    exact = errors.double()
    identity = torch.eye(len(exact), dtype=exact.dtype, device=exact.device)
    size = exact.diagonal().mean()
    scaled = torch.where(size > 0, exact / size, identity) + 1e-6 * identity
    solved, _ = torch.linalg.solve_ex(scaled, torch.ones_like(identity[0]))
    return (solved / solved.sum()).to(errors.dtype)


def _finite(logits: Tensor) -> Tensor:
    """With a low number for -inf, so that differences and products of masked classes are numbers."""
    return logits.clamp(min=torch.finfo(logits.dtype).min / 4)


def _costs(stacked: Tensor, wanted: Tensor) -> Tensor:
    """The cross-entropies (K, B) of logits (K, B, C)."""
    return -(wanted * F.log_softmax(stacked, dim=2).masked_fill(wanted == 0, 0.0)).sum(dim=2)


def _linear(stacked: Tensor, wanted: Tensor) -> Tensor:
    """The best mixture of logits (K, B, C) for wanted probabilities (B, C), by exact moves between two networks."""
    logits = _finite(stacked)
    count, batch, classes = logits.shape
    shares = logits.new_full((count, batch), 1 / count)
    for _ in range(1 if count == 2 else MOVES * count):
        mixed = (shares[:, :, None] * logits).sum(dim=0)
        slopes = ((mixed.softmax(dim=1) - wanted) * logits).sum(dim=2)  # (K, B), of the cost with each share
        dearest = slopes.masked_fill(shares <= 0, -torch.inf).argmax(dim=0, keepdim=True)  # (1, B)
        cheapest = slopes.argmin(dim=0, keepdim=True)
        least, most = (logits.gather(0, one[:, :, None].expand(1, -1, classes))[0] for one in (cheapest, dearest))
        moves, most_moved = least - most, shares.gather(0, dearest)[0]
        low, high = torch.zeros_like(most_moved), most_moved
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            probabilities = (mixed + middle[:, None] * moves).softmax(dim=1)
            helps = ((probabilities - wanted) * moves).sum(dim=1) < 0
            low, high = torch.where(helps, middle, low), torch.where(helps, high, middle)
        moved = torch.where(helps, high, low)[None]  # all of it where even the last of it helps, else what surely does
        shares = shares.scatter_add(0, dearest, -moved).scatter_add(0, cheapest, moved)
    mixture = (shares[:, :, None] * logits).sum(dim=0)
    is_masked = ((stacked == -torch.inf) & (shares > 0)[:, :, None]).any(dim=0)
    return mixture.masked_fill(is_masked, -torch.inf)
