"""Divergences and cross-entropies of distributions over classes, in which 0·log 0 is 0."""

import math

from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, reduced


def divergence(log_p: Tensor, log_q: Tensor, counted: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """KL(p ‖ q) = Σ p·(log p - log q), sum over classes, mean over the samples, or over the `counted` ones (N,).

    A class that p gives 0 costs nothing, whatever q gives it; one that q alone gives 0 costs infinitely much.
    Shapes: both (N, C) log-probabilities. Returns a scalar, or (N,) with `reduction="none"`.
    """
    free = log_p == -math.inf
    if counted is not None:
        free = free | ~counted[:, None]
    terms = log_p.exp() * (log_p - log_q).masked_fill(free, 0.0)
    return reduced(terms, counted, reduction)


def cross_entropies(log_q: Tensor, p: Tensor) -> Tensor:
    """-Σ p·log q of each sample; a class that p gives 0 costs nothing. Shapes: both (N, C). Returns (N,)."""
    return -(p * log_q.masked_fill(p == 0, 0.0)).sum(dim=1)


def soften(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Logits (N, C) / T; -inf stays -inf, and gives a temperature that is learned no gradient."""
    if not isinstance(temperature, Tensor):
        return logits / temperature
    masked = logits == -math.inf
    return (logits.masked_fill(masked, 0.0) / temperature).masked_fill(masked, -math.inf)
