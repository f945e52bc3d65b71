"""Formulas of losses of several teachers, in numpy."""

import numpy as np
import torch
from torch import Tensor

from kd_lightning.losses import CAMKD, functional
from tests.losses.case import Array, Case, draw

LABELS = np.array([2, 0, 1, 2, 2])


def softmax(values: Array, axis: int) -> Array:
    e = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def confidence(logits: Array, labels: Array = LABELS) -> Array:
    """(K, B, C) -> (K, B)"""
    p = softmax(logits, 2)
    losses = -np.log(np.stack([one[np.arange(len(labels)), labels] for one in p]))
    return np.asarray((1 - softmax(losses, 0)) / (len(logits) - 1))


def entropy(logits: Array) -> Array:
    p = softmax(logits, 2)
    each = -(p * np.log(p)).sum(axis=2)
    return np.asarray((1 - each / each.sum(axis=0)) / (len(logits) - 1))


def weighed(weights: Array, by: Array) -> float:
    return float((weights * by).sum())


def on_features(one: Array, two: Array, first: Array, second: Array, weight: Array, bias: Array) -> float:
    """CA-MKD of two teachers with one classifier; maps (B, D, H, W)."""
    logits = np.stack([maps.mean(axis=(2, 3)) @ weight.T + bias for maps in (one, two)])
    w = confidence(logits)
    distances = np.stack([((s - t) ** 2).reshape(len(s), -1).mean(axis=1) for s, t in ((one, first), (two, second))])
    return float((w * distances).sum(axis=0).mean())


def loss_on_features(one: Tensor, two: Tensor, first: Tensor, second: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    lists = [one, two], [first, second], [weight, weight], [bias, bias]
    loss: Tensor = CAMKD()(*lists, torch.from_numpy(LABELS))
    return loss


def probabilities(logits: Array, by: Array) -> float:
    return weighed(np.log(softmax(logits, 2).mean(axis=0)), by)


THREE, BY = draw(3, 5, 4), draw(3, 5, seed=1)
TARGET = torch.from_numpy(LABELS)

CASES = {
    "confidence": Case(
        lambda logits, by: (functional.confidence_weights(logits, TARGET) * by).sum(),
        lambda logits, by: weighed(confidence(logits), by),
        [THREE, BY],
    ),
    "entropy": Case(
        lambda logits, by: (functional.entropy_weights(logits) * by).sum(),
        lambda logits, by: weighed(entropy(logits), by),
        [THREE, BY],
    ),
    "mean_probabilities": Case(
        lambda logits, by: (functional.mean_probabilities(logits) * by).sum(),
        probabilities,
        [THREE, draw(5, 4, seed=2)],
    ),
    "ca_mkd": Case(
        loss_on_features,
        on_features,
        [
            draw(5, 6, 2, 2),
            draw(5, 6, 2, 2, seed=1),
            draw(5, 6, 2, 2, seed=2),
            draw(5, 6, 2, 2, seed=3),
            draw(4, 6),
            draw(4),
        ],
    ),
    "perturbed": Case(
        lambda teacher, noise: functional.perturbed(teacher, noise, 0.25).square().sum(),
        lambda teacher, noise: float(((0.75 * teacher + 0.25 * noise) ** 2).sum()),
        [draw(5, 4), draw(5, 4, seed=1)],
    ),
}
