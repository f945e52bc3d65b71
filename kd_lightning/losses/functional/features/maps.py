"""Losses on feature maps without trainable parts: values, attention, selectivity, flow."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, mean_per_sample, squared_distance
from kd_lightning.losses.functional.sizes import sum_of, to_smaller, unit


def fitnet(student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Hint: the mean over all elements of (student - teacher)², the student's feature already regressed.

    Romero et al. 2015, arXiv:1412.6550. Shapes: equal, (B, ...). Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import fitnet
        >>> fitnet(torch.ones(2, 8, 4, 4), torch.zeros(2, 8, 4, 4))
        tensor(1.)
    """
    return squared_distance(student, teacher, reduction)


def attention_transfer(
    student: Sequence[Tensor], teacher: Sequence[Tensor], p: float = 2, *, reduction: Reduction = "mean"
) -> Tensor:
    """Attention transfer: Σ over layers of mean((q_s - q_t)²), q = mean over channels of |f|^p, of unit L2 norm.

    Zagoruyko, Komodakis 2017, arXiv:1612.03928, as in RepDistiller: the mean runs over batch and positions. Of two
    sizes the larger map is average-pooled to the smaller.
    Shapes: layer by layer (B, C_s, H_s, W_s) and (B, C_t, H_t, W_t).
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import attention_transfer
        >>> student = [torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]
        >>> teacher = [torch.rand(2, 64, 8, 8), torch.rand(2, 128, 4, 4)]
        >>> attention_transfer(student, teacher, reduction="none").shape
        torch.Size([2])
        >>> attention_transfer(teacher, teacher)
        tensor(0.)
    """
    pairs = [to_smaller(*pair) for pair in zip(student, teacher, strict=True)]
    return sum_of([squared_distance(_attention(s, p), _attention(t, p), reduction) for s, t in pairs])


def nst(student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
    """Neuron selectivity transfer: Σ over layers of the squared maximum mean discrepancy of the channels' maps.

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t), k(a, b) = (aᵀb)², over all pairs of an image's channels, each
    channel's map flattened to unit L2 norm; mean over the batch. Huang, Wang 2017, arXiv:1707.01219, as in
    RepDistiller. Of two sizes the larger map is average-pooled to the smaller.
    Memory: O(B·min(C_s² + C_t², (H·W)²)) beside the inputs, for matrix products alone are kept.
    Shapes: layer by layer (B, C_s, H_s, W_s) and (B, C_t, H_t, W_t).
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import nst
        >>> student, teacher = torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4)
        >>> bool(nst([student], [teacher]) > 0)
        True
    """
    pairs = [to_smaller(*pair) for pair in zip(student, teacher, strict=True)]
    return sum_of([_discrepancy(unit(s.flatten(2), 2), unit(t.flatten(2), 2), reduction) for s, t in pairs])


def fsp(student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
    """Flow of the solution procedure: Σ over adjacent layers of mean((G_s - G_t)²), G_ij = <f_i, f'_j> / (H·W).

    f_i is channel i of a layer, f'_j channel j of the next one; the larger of the two is average-pooled to the smaller.
    Yim, Joo, Bae, Kim 2017, CVPR, as in RepDistiller. Student and teacher may differ in size, not in channels.
    Shapes: layer by layer (B, C, H_s, W_s) and (B, C, H_t, W_t), two layers or more.
    Returns a scalar, or (B,) for the reduction `none`. ValueError for a single layer.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import fsp
        >>> layers = [torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]
        >>> fsp(layers, layers)
        tensor(0.)
    """
    pairs = zip(_flows(student), _flows(teacher), strict=True)
    return sum_of([squared_distance(s, t, reduction) for s, t in pairs])


def _attention(feature: Tensor, p: float) -> Tensor:
    return unit(feature.abs().pow(p).mean(dim=1).flatten(1), 1)


def _discrepancy(s: Tensor, t: Tensor, reduction: Reduction) -> Tensor:
    """Of unit rows (B, C, N); as mean k(a, b) = <aᵀa, bᵀb> / (C·C'), the smaller of two Gram matrices will do."""
    if s.shape[2] <= max(s.shape[1], t.shape[1]):
        difference = s.mT @ s / s.shape[1] - t.mT @ t / t.shape[1]
        return mean_per_sample(difference.square().sum(dim=(1, 2)), reduction)
    return _kernel(s, s, reduction) + _kernel(t, t, reduction) - 2 * _kernel(s, t, reduction)


def _kernel(a: Tensor, b: Tensor, reduction: Reduction) -> Tensor:
    return mean_per_sample((a @ b.mT).square(), reduction)


def _flows(layers: Sequence[Tensor]) -> list[Tensor]:
    if len(layers) < 2:
        raise ValueError(f"a flow runs from one layer to the next; {len(layers)} given")
    pairs = [to_smaller(*pair) for pair in pairwise(layers)]
    return [f.flatten(2) @ g.flatten(2).mT / f[0, 0].numel() for f, g in pairs]
