"""What each of several teachers weighs, in each sample or in a batch; and the mean of what they say."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.divergence import cross_entropies
from kd_lightning.losses.functional.samples import has_label

MOST_TEACHERS = 8  # of `min_norm_weights`, which looks at 3^K sets of them


def mean_probabilities(logits: Tensor) -> Tensor:
    """Logits of the mean of several predictions, log (1/K)·Σ_k softmax(z_k): not the mean of their logits.

    The mean of logits is the normalised geometric mean of the probabilities, which is sharper where teachers are sure
    and of one mind, and says no where a single one does. A temperature softens the mean, not what it is of.
    Shapes: (K, B, C). Returns (B, C), the log-probabilities, at T = 1 exactly those of the mean.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mean_probabilities
        >>> mean_probabilities(torch.tensor([[[0.0, 0.0]], [[0.0, -torch.inf]]])).exp()
        tensor([[0.7500, 0.2500]])
    """
    return torch.logsumexp(F.log_softmax(logits, dim=2), dim=0) - math.log(len(logits))


def entropy_weights(logits: Tensor) -> Tensor:
    """The less unsure a teacher, the more it weighs: w_k = (1 - H_k / Σ_j H_j) / (K - 1), H the entropy at T = 1.

    EBKD, Kwon et al. 2020, ICASSP, "Adaptive Knowledge Distillation Based on Entropy", as in the code of
    arXiv:2201.00007, which leaves out the 1/(K - 1) and takes the mean over the teachers instead: (K - 1)/K times this.
    Shapes: logits (K, B, C). Returns (K, B), for each sample of sum 1; of a single teacher 1.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import entropy_weights
        >>> sure, unsure = torch.tensor([[30.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> entropy_weights(torch.stack([sure, unsure])).round(decimals=4)
        tensor([[1.],
                [0.]])
    """
    log_p = F.log_softmax(logits, dim=2)
    entropies = torch.stack([cross_entropies(one, one.exp()) for one in log_p])
    entropies = entropies + torch.finfo(entropies.dtype).tiny  # all are sure: all weigh alike
    return _others_share(entropies / entropies.sum(dim=0))


def confidence_weights(logits: Tensor, target: Tensor) -> Tensor:
    """The closer a teacher to the label, the more it weighs: w_k = (1 - softmax_k(CE_k)) / (K - 1).

    CA-MKD, Zhang, Chen, Wang 2022, arXiv:2201.00007. A sample without a label has equal weights.
    Shapes: logits (K, B, C), target (B,) classes or (B, C) probabilities. Returns (K, B), for each sample of sum 1; of
    a single teacher 1.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import confidence_weights
        >>> right, wrong = torch.tensor([[30.0, 0.0]]), torch.tensor([[0.0, 30.0]])
        >>> confidence_weights(torch.stack([right, wrong]), torch.tensor([0]))
        tensor([[1.0000e+00],
                [9.3576e-14]])
    """
    labels = target.clamp_min(0) if target.ndim == 1 else target
    losses = torch.stack([F.cross_entropy(one, labels, reduction="none") for one in logits])
    if target.ndim == 1:
        losses = torch.where(has_label(target), losses, 0.0)
    return _others_share(F.softmax(losses, dim=0))


def _others_share(shares: Tensor) -> Tensor:
    """(1 - s_k) / (K - 1) of shares (K, …) whose sum is 1: again of sum 1."""
    if len(shares) == 1:
        return shares
    # Σ of the others, and not 1 - s: that would lose what is nearly 0.
    others = 1 - torch.eye(len(shares), dtype=shares.dtype, device=shares.device)
    return torch.tensordot(others, shares, dims=1) / (len(shares) - 1)


def min_norm_weights(gradients: Tensor, most: float = 1.0) -> Tensor:
    """The weights of the shortest combination of gradients: argmin ‖Σ_k w_k·g_k‖², Σ w_k = 1, 0 ≤ w_k ≤ most.

    AE-KD, Du et al. 2020, NeurIPS, "Agree to Disagree: Adaptive Ensemble Knowledge Distillation in Gradient Space":
    the teachers' gradients at the student's logits, `most` = C how far they may be disagreed with. Where `most` is
    below 1/K, all are equal. Solved on the device: each set of teachers that stand at a bound gives one linear system,
    and of the solutions within the bounds the shortest is taken. Shapes: (K, D), K ≤ 8. Returns (K,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import min_norm_weights
        >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))  # 1/1² to 1/2²
        tensor([0.8000, 0.2000])
        >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), most=0.6)
        tensor([0.6000, 0.4000])
    """
    count, most = len(gradients), max(most, 1 / len(gradients))
    products = gradients @ gradients.T
    products = products / products.diagonal().sum().clamp_min(torch.finfo(products.dtype).tiny)
    slack = torch.finfo(products.dtype).eps ** 0.5
    places = torch.arange(count, device=gradients.device)
    states = torch.arange(3**count, device=gradients.device)[:, None].div(3**places, rounding_mode="floor") % 3
    free, full = states == 0, (states == 2).to(gradients.dtype)
    # [G -1; 1ᵀ 0]·[w; μ] = [0; 1] in the rows of the free ones, w = 0 or most in the others.
    identity = torch.eye(count + 1, dtype=gradients.dtype, device=gradients.device)
    system = identity.repeat(len(states), 1, 1)
    ridge = products + slack * 1e-2 * identity[:count, :count]  # of equal gradients any would do
    system[:, :count, :count] = torch.where(free[:, :, None], ridge, identity[:count, :count])
    system[:, :count, count] = -free.to(gradients.dtype)
    is_open = free.any(dim=1)
    system[:, count, :count] = is_open[:, None].to(gradients.dtype)
    system[:, count, count] = (~is_open).to(gradients.dtype)
    right = torch.cat([most * full, is_open[:, None].to(gradients.dtype)], dim=1)
    weights = torch.linalg.solve_ex(system, right[:, :, None])[0][:, :count, 0]
    within = ((weights >= -slack) & (weights <= most + slack)).all(dim=1) & ((weights.sum(dim=1) - 1).abs() <= slack)
    lengths = torch.where(within, ((weights @ products) * weights).sum(dim=1), torch.inf)
    best = weights.index_select(0, lengths.argmin()[None])[0].clamp(0, most)
    return best / best.sum()
