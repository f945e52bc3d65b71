"""Contrastive losses, in numpy, score by score."""

import numpy as np

from kd_lightning.losses import functional
from tests.losses.case import Array, Case, draw


def contrastive_nce(scores: Array, num_samples: int) -> float:
    count = scores.shape[1] - 1
    noise, epsilon = count * (1 / num_samples), 1e-7
    total = 0.0
    for positive, *negatives in scores:
        total += np.log(positive / (positive + noise + epsilon))
        total += sum(np.log(noise / (negative + noise + epsilon)) for negative in negatives)
    return float(-total / len(scores))


CASES = {
    "contrastive_nce": Case(
        lambda scores: functional.contrastive_nce(scores, 20),
        lambda scores: contrastive_nce(scores, 20),
        [np.exp(draw(3, 8))],
    ),
    "contrastive_nce, one negative": Case(
        lambda scores: functional.contrastive_nce(scores, 50_000),
        lambda scores: contrastive_nce(scores, 50_000),
        [np.exp(draw(2, 2)) / 50_000],
    ),
}
