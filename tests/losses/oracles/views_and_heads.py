"""Losses of a network that teaches itself, in plain numpy, sample by sample."""

import numpy as np
import torch

from kd_lightning.losses import functional
from tests.losses.case import Array, Case, draw

LABELS = np.array([2, -1, 0, 4, -100, 3])  # two without
PARTNER, DEEPEST, FEATURE = draw(6, 5, seed=1), draw(6, 5, seed=2), draw(6, 3, seed=3)


def softened(logits: Array, temperature: float) -> Array:
    powers = np.exp((logits - logits.max()) / temperature)
    return powers / powers.sum()


def divergence(p: Array, q: Array) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def cs_kd(logits: Array, partner: Array, labels: Array, temperature: float) -> float:
    values = [
        temperature**2 * divergence(softened(its, temperature), softened(own, temperature))
        for own, its, label in zip(logits, partner, labels, strict=True)
        if label >= 0
    ]
    return sum(values) / len(values)


def mean_discrepancy(first: Array, second: Array) -> float:
    """By the kernel's means over all pairs: k(a, a') + k(b, b') - 2·k(a, b), k the product."""
    a, b = (feature.reshape(len(feature), -1) for feature in (first, second))
    return float((a @ a.T).mean() + (b @ b.T).mean() - 2 * (a @ b.T).mean())


def byot(heads: list[Array], features: list[Array], alpha: float, temperature: float, beta: float) -> float:
    total = 0.0
    for z, f in zip(heads, features, strict=True):
        for i, label in enumerate(LABELS):
            if label >= 0:
                total += (1 - alpha) * -np.log(softened(z[i], 1.0)[label])
                soft = divergence(softened(DEEPEST[i], temperature), softened(z[i], temperature))
                total += alpha * temperature**2 * soft + beta * ((f[i] - FEATURE[i]) ** 2).sum()
    return float(total / (LABELS >= 0).sum())


def as_tensor(array: Array, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(array).to(like.dtype)


def cs_kd_case(temperature: float) -> Case:
    return Case(
        lambda z: functional.cs_kd(z, as_tensor(PARTNER, z), torch.from_numpy(LABELS), temperature),
        lambda z: cs_kd(z, PARTNER, LABELS, temperature),
        [draw(6, 5)],
    )


CASES = {
    "cs_kd": cs_kd_case(4.0),
    "cs_kd T=1": cs_kd_case(1.0),
    "mean_discrepancy": Case(functional.mean_discrepancy, mean_discrepancy, [draw(5, 4), draw(5, 4, seed=1)]),
    "mean_discrepancy of maps": Case(
        functional.mean_discrepancy, mean_discrepancy, [draw(3, 2, 2, 2), draw(3, 2, 2, 2, seed=1)]
    ),
    "byot": Case(
        lambda z1, z2, f1, f2: functional.byot(
            [z1, z2], [f1, f2], as_tensor(DEEPEST, z1), as_tensor(FEATURE, z1), torch.from_numpy(LABELS), 0.3, 2.0, 0.01
        ),
        lambda z1, z2, f1, f2: byot([z1, z2], [f1, f2], 0.3, 2.0, 0.01),
        [draw(6, 5, seed=4), draw(6, 5, seed=5), draw(6, 3, seed=6), draw(6, 3, seed=7)],
    ),
}
