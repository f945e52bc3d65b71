"""A linear classifier on features that stay as they are."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

PENALTIES = tuple(10.0**power for power in range(1, -7, -1))  # the strongest first
STEPS = 200  # at most, for each
TINY = 1e-6


class Samples(NamedTuple):
    """Features (N, D) and labels (N,)."""

    features: Tensor
    target: Tensor


class Linear(NamedTuple):
    """Logits of features x are ((x - mean) / std)·weight + bias; weight (D, C), the others (D,), (D,), (C,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    penalty: float

    def __call__(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.std) @ self.weight + self.bias


def fitted(train: Samples, val: Samples, width: int, penalties: Sequence[float] = PENALTIES) -> Linear:
    """The multinomial logistic regression with the penalty λ·‖W‖²/2 that is right most often on `val`.

    Fitted by L-BFGS from 0, each penalty from the one before, as the linear probes of Kornblith et al. 2019
    (arXiv:1805.08974) are. Of penalties that are right equally often the strongest counts. The problem is convex and
    nothing in it is drawn, so it comes out the same each time.

    Shapes: features (N, D), labels (N,) from 0 to below `width`.

    Examples:
        >>> import torch
        >>> from kd_lightning.training.probing.linear import Samples, fitted
        >>> samples = Samples(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 0, 1, 1]))
        >>> fitted(samples, samples, width=2)(samples.features).argmax(dim=1)
        tensor([0, 0, 1, 1])
    """
    std, mean = torch.std_mean(train.features, dim=0, correction=0)
    std = std.clamp(min=TINY)
    inputs = (train.features - mean) / std
    weight = inputs.new_zeros(inputs.shape[1], width)
    bias = inputs.new_zeros(width)
    best: tuple[int, Linear] | None = None
    for penalty in penalties:
        weight, bias = regression(inputs, train.target, weight, bias, penalty)
        found = Linear(weight, bias, mean, std, penalty)
        right = int((found(val.features).argmax(dim=1) == val.target).sum())
        if best is None or right > best[0]:
            best = right, found
    assert best is not None
    return best[1]


def regression(inputs: Tensor, target: Tensor, weight: Tensor, bias: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of the least penalised cross-entropy, from others on."""
    weight, bias = (value.clone().requires_grad_() for value in (weight, bias))
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(inputs @ weight + bias, target) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()
