"""Divergences and cross-entropies of distributions over classes, in which 0·log 0 is 0."""

import math

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import sum_per_sample


def divergence(log_p: Tensor, log_q: Tensor, counted: Tensor | None = None) -> Tensor:
    """KL(p ‖ q) = Σ p·(log p - log q), sum over classes, mean over the samples, or over the `counted` ones (N,).

    A class that p gives 0 costs nothing, whatever q gives it; one that q alone gives 0 costs infinitely much.
    Shapes: both (N, C) log-probabilities. Returns a scalar.
    """
    impossible = log_p == -math.inf
    log_p, log_q = log_p.masked_fill(impossible, 0.0), log_q.masked_fill(impossible, 0.0)
    return sum_per_sample(F.kl_div(log_q, log_p, reduction="none", log_target=True), counted)


def cross_entropies(log_q: Tensor, p: Tensor) -> Tensor:
    """-Σ p·log q of each sample; a class that p gives 0 costs nothing. Shapes: both (N, C). Returns (N,)."""
    return -(p * log_q.masked_fill(p == 0, 0.0)).sum(dim=1)


def log_softmax_of_some(logits: Tensor) -> tuple[Tensor, Tensor]:
    """log softmax (N, C) and logsumexp (N, 1) of each row; of a row of -inf alone both are -inf, with gradient 0."""
    empty = (logits == -math.inf).all(dim=1, keepdim=True)
    logits = logits.masked_fill(empty, 0.0)
    log_p, log_sum = F.log_softmax(logits, dim=1), logits.logsumexp(dim=1, keepdim=True)
    return log_p.masked_fill(empty, -math.inf), log_sum.masked_fill(empty, -math.inf)


def soften(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Logits / T; -inf stays -inf, and gives a temperature that is learned no gradient."""
    if not isinstance(temperature, Tensor):
        return logits / temperature
    masked = logits == -math.inf
    return (logits.masked_fill(masked, 0.0) / temperature).masked_fill(masked, -math.inf)
