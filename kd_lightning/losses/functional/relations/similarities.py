"""Losses on the relations between the examples of a batch."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SLICE_ELEMENTS = 2**24  # the most elements that RKD holds of one tensor


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity preserving: ‖n(F_s·F_sᵀ) - n(F_t·F_tᵀ)‖²_F / B², n gives each row unit L2 norm, F is flattened.

    Tung, Mori 2019, arXiv:1907.09682. Shapes: (B, ...) each. Memory O(B² + inputs). Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import similarity_preserving
        >>> student, teacher = torch.rand(8, 16, 4, 4), torch.rand(8, 64)
        >>> similarity_preserving(student, teacher).shape
        torch.Size([])
        >>> bool(similarity_preserving(teacher, 3 * teacher) < 1e-6)
        True
    """
    return F.mse_loss(_similarities(student.flatten(1)), _similarities(teacher.flatten(1)))


def correlation_congruence_adjacent(student: Tensor, teacher: Tensor) -> Tensor:
    """Correlation congruence of neighbours: mean over i < B of Σ_d δ_id·δ_(i+1)d, δ = |student - teacher|.

    Peng et al. 2019, arXiv:1904.01802, as in RepDistiller, whose README's numbers it gave; the paper states another
    loss, `correlation_congruence_kernel`. A batch of one has no neighbours, its loss is 0.
    Shapes: both (B, D), embeddings of equal width. Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import correlation_congruence_adjacent
        >>> correlation_congruence_adjacent(torch.ones(3, 4), torch.zeros(3, 4))
        tensor(4.)
    """
    difference = (student - teacher).abs()
    return (difference[:-1] * difference[1:]).sum() / max(len(difference) - 1, 1)


def correlation_congruence_kernel(student: Tensor, teacher: Tensor, gamma: float = 0.4, order: int = 2) -> Tensor:
    """Correlation congruence of the paper: mean over B² of (K_s - K_t)², K a Gaussian kernel's Taylor polynomial.

    K_ij = Σ_{p=0..order} exp(-2γ)·(2γ)^p / p!·(e_i·e_j)^p tends to exp(-γ‖e_i - e_j‖²), e of unit L2 norm.
    Peng et al. 2019, arXiv:1904.01802. Shapes: (B, D_s) and (B, D_t). Memory O(B² + inputs). Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import correlation_congruence_kernel
        >>> embeddings = torch.rand(8, 16)
        >>> correlation_congruence_kernel(embeddings, embeddings)
        tensor(0.)
    """
    return F.mse_loss(
        _taylor_kernel(student.flatten(1), gamma, order), _taylor_kernel(teacher.flatten(1), gamma, order)
    )


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer: mean over B² of p_t·log((p_t + ε) / (p_s + ε)), ε = 1e-7.

    p is the cosine of two examples as (cosine + 1) / 2, divided by its row's sum. Passalis, Tefas 2018,
    arXiv:1803.10837. Shapes: (B, D_s) and (B, D_t). Memory O(B² + inputs). Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import pkt
        >>> student, teacher = torch.rand(8, 16), torch.rand(8, 64)
        >>> bool(pkt(student, teacher) > pkt(teacher, teacher))
        True
    """
    epsilon = 1e-7
    p_student, p_teacher = (_conditional_probabilities(e.flatten(1), epsilon) for e in (student, teacher))
    return (p_teacher * ((p_teacher + epsilon).log() - (p_student + epsilon).log())).mean()


def rkd(student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Relational distillation: w_d·Huber(d_s, d_t) over B² pairs + w_a·Huber(a_s, a_t) over B³ triplets, means.

    d_ij = ‖e_i - e_j‖ / (its mean over i ≠ j); a_ijk = the cosine of the angle at i between j and k, 0 where one
    of these coincides with i. Huber is smooth L1. Park et al. 2019, arXiv:1904.05068.
    Shapes: (B, D_s) and (B, D_t); maps are flattened, and cost time: B²·D differences, B³·D for the angles.
    Memory O(B² + inputs): differences and angles are made a bounded slice at a time, and again in backward.
    Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import rkd
        >>> student, teacher = torch.rand(8, 16), torch.rand(8, 64)
        >>> bool(rkd(student, teacher) > 0)
        True
        >>> bool(rkd(2 * teacher, teacher) < 1e-6)  # distances count in units of their mean
        True
    """
    student, teacher = student.flatten(1), teacher.flatten(1)
    distance = F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))
    pieces = _slices(len(student), max(student.shape[1], teacher.shape[1]))
    angles = [_recomputed(_sum_of_angle_losses, student, teacher, piece) for piece in pieces]
    return distance_weight * distance + angle_weight * torch.stack(angles).sum() / len(student) ** 3


def _direction(vectors: Tensor, epsilon: float = 0.0) -> Tensor:
    """Vectors / (their length + ε). A vector of zeros stays one and gets no gradient, where others would explode."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors * ((length > 0) / (torch.where(length > 0, length, 1.0) + epsilon))


def _similarities(features: Tensor) -> Tensor:
    return _direction(features @ features.T)


def _taylor_kernel(embeddings: Tensor, gamma: float, order: int) -> Tensor:
    cosine = _direction(embeddings)
    cosine = cosine @ cosine.T
    terms = [(2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(dim=0)


def _conditional_probabilities(embeddings: Tensor, epsilon: float) -> Tensor:
    direction = _direction(embeddings, epsilon)
    similarity = (direction @ direction.T + 1) / 2
    similarity = similarity.clamp(min=0)  # rounding can take a cosine below -1
    return similarity / similarity.sum(dim=1, keepdim=True)


def _relative_distances(embeddings: Tensor) -> Tensor:
    """Distances (B, B) in units of their mean over pairs; all 0 where all embeddings are equal."""
    batch = len(embeddings)
    rows = [_recomputed(_distances, embeddings, piece) for piece in _slices(*embeddings.shape)]
    distances = torch.cat(rows)
    mean = distances.sum() / max(batch * (batch - 1), 1)
    return distances * ((mean > 0) / torch.where(mean > 0, mean, 1.0))


def _distances(embeddings: Tensor, pivots: slice) -> Tensor:
    return torch.linalg.vector_norm(_differences(embeddings, pivots), dim=2)


def _sum_of_angle_losses(student: Tensor, teacher: Tensor, pivots: slice) -> Tensor:
    return F.smooth_l1_loss(_angles(student, pivots), _angles(teacher, pivots), reduction="sum")


def _angles(embeddings: Tensor, pivots: slice) -> Tensor:
    """Cosines (P, B, B) of the angles at P pivots."""
    direction = _direction(_differences(embeddings, pivots))
    return direction @ direction.transpose(1, 2)


def _differences(embeddings: Tensor, pivots: slice) -> Tensor:
    """(P, B, D): from each of P pivots to each example."""
    return embeddings - embeddings[pivots, None]


def _slices(batch: int, width: int) -> Iterator[slice]:
    """Slices of the batch for which neither differences nor angles exceed `SLICE_ELEMENTS`, if they can."""
    count = max(1, SLICE_ELEMENTS // (batch * max(batch, width)))
    yield from (slice(start, start + count) for start in range(0, batch, count))


def _recomputed(function, *arguments):  # type: ignore[no-untyped-def]
    """The function's value; backward computes its intermediate tensors again, so that none is kept."""
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
