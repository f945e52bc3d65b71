"""Embeddings of several networks that tell the samples of a class from others: each alone, and among the others'."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.logits.targets import kd
from kd_lightning.losses.functional.samples import has_label


def mcl(
    own: Tensor,
    others: Sequence[Tensor],
    target: Tensor,
    scale: float = 0.07,
    temperature: float = 3.0,
    vanilla: float = 0.1,
    soft_vanilla: float = 1.0,
    interactive: float = 0.1,
    soft_interactive: float = 1.0,
) -> Tensor:
    """Mutual contrastive learning: vanilla·C(S_aa) + Σ_b [soft_vanilla·K(S_aa, S_bb)
    + interactive·(C(S_ab) + C(S_ba)) + soft_interactive·(K(S_ab, S_ba) + K(S_ba, S_ab))].

    Yang et al. 2022, AAAI, arXiv:2104.12565. S_ab = e_a·e_bᵀ/scale are the cosines of one network's embeddings with
    another's, C(S) is `supervised_contrast`, K(S, S') = T²·KL(softmax(S'/T) ‖ softmax(S/T)) by rows, without gradient
    of S'. Summed over all peers, as published, and not the mean over them. The gradient of `own` is the one that it has
    in the sum over all networks, whose other parts are the others'; a pair's interactive parts therefore stand in the
    value of both.
    The public code has no number for a sample without another of its class in the batch; here it leaves the mean of C.
    Shapes: own (B, E), each of the others (B, E), of any length; target (B,) class indices. A sample without a label,
    -1 or -100, has part in K alone. Returns a scalar. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mcl
        >>> apart, label = torch.eye(2)[[0, 0, 1, 1]], torch.tensor([0, 0, 1, 1])
        >>> bool(mcl(apart, [apart], label) < mcl(apart[[0, 2, 1, 3]], [apart], label))
        True
    """
    if own.ndim != 2 or any(one.shape != own.shape for one in others):
        shapes = ", ".join(str(tuple(one.shape)) for one in (own, *others))
        raise ValueError(f"embeddings of shapes {shapes}: all need one width and one batch, (B, E)")
    embedded, *peers = (F.normalize(one, dim=1) for one in (own, *others))
    inner = embedded @ embedded.T / scale
    total = vanilla * supervised_contrast(inner, target)
    for peer in peers:
        theirs, across = peer @ peer.T / scale, embedded @ peer.T / scale
        back = across.T
        total = total + soft_vanilla * kd(inner, theirs.detach(), temperature)
        total = total + interactive * (supervised_contrast(across, target) + supervised_contrast(back, target))
        both = kd(across, back.detach(), temperature) + kd(back, across.detach(), temperature)
        total = total + soft_interactive * both
    return total


def supervised_contrast(similarities: Tensor, target: Tensor) -> Tensor:
    """-mean_i mean_{p∈P_i} log(exp S_ip / Σ_{k≠i} exp S_ik), P_i the other samples of i's class; its mean over i.

    Khosla et al. 2020, arXiv:2004.11362. A sample without another of its class leaves the mean, and one without a label
    the whole of it; 0 where none is left. Shapes: similarities (B, B), target (B,) class indices. Returns a scalar.
    ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import supervised_contrast
        >>> supervised_contrast(torch.zeros(3, 3), torch.tensor([0, 0, 1]))  # the third is alone
        tensor(0.6931)
    """
    if similarities.shape != (len(target), len(target)) or target.ndim != 1:
        raise ValueError(
            f"similarities {tuple(similarities.shape)}, target {tuple(target.shape)}: this loss needs (B, B), and one "
            "class for each sample, (B,)"
        )
    known = has_label(target)
    others = ~torch.eye(len(target), dtype=torch.bool, device=target.device) & known
    positives = (target[:, None] == target) & others & known[:, None]
    counts = positives.sum(dim=1)
    counted = counts > 0
    # A row that does not count keeps all its numbers: of none there would be no gradient.
    log_sums = similarities.masked_fill(~others & counted[:, None], -torch.inf).logsumexp(dim=1, keepdim=True)
    values = (log_sums - similarities).masked_fill(~positives, 0.0).sum(dim=1) / counts.clamp(min=1)
    return values.sum() / counted.sum().clamp(min=1)
