"""The losses of soft labels without a teacher in numpy, image by image."""

import numpy as np
import torch

from kd_lightning.losses import functional
from tests.losses.case import Array, Case, draw
from tests.losses.oracles.logits import divergence, softmax

TARGET = np.array([2, 0, 6, 2, 4])
LABELS = torch.from_numpy(TARGET)
LOGITS = draw(5, 7, seed=3)
PAST = softmax(draw(5, 7, seed=4))
PAST[3] = 0  # of which no answer is known yet


def ps_kd(logits: Array, past: Array, share: float) -> float:
    total = 0.0
    for z, p, y in zip(logits, past, TARGET, strict=True):
        label = np.eye(len(z))[y]
        soft = (1 - share) * label + share * p if p.any() else label
        total -= (soft * np.log(softmax(z))).sum()
    return float(total / len(logits))


def virtual_teacher(logits: Array, correct: float, temperature: float) -> float:
    total = 0.0
    for z, y in zip(logits, TARGET, strict=True):
        u = np.full(len(z), (1 - correct) / (len(z) - 1))
        u[y] = correct
        total += divergence(softmax(u / temperature), softmax(z))
    return total / len(logits)


def uskd_labels(logits: Array, weak: Array, target: Array) -> tuple[Array, Array]:
    """The soft labels of each image's class (B,), and of the other classes (B, C)."""
    rows = range(len(logits))
    own = np.array([softmax(logits[i])[target[i]] for i in rows])
    zipf = np.zeros_like(logits)
    for i in rows:
        p, w, y = np.log(softmax(logits[i])), softmax(weak[i]), target[i]
        score = w / (1 - w[y] + 1e-6) + p / (1 - p[y] + 1e-6)
        for rank, c in enumerate(sorted(range(len(p)), key=lambda c: -score[c]), start=1):
            zipf[i, c] = 0 if c == y else 1 / rank
        zipf[i] /= zipf[i].sum()
    return own**2 + 1 - (own**2).mean(), zipf


def uskd(logits: Array, weak: Array, target: Array, alpha: float, beta: float, mu: float) -> float:
    smoothed, zipf = uskd_labels(logits, weak, target)
    total = 0.0
    for z, w, y, soft, others in zip(logits, weak, target, smoothed, zipf, strict=True):
        rest = [c for c in range(len(z)) if c != y]
        labels = 0.9 * np.eye(len(z))[y] + 0.1 / len(z)
        total -= alpha * soft * np.log(softmax(z)[y])
        total -= beta * (others[rest] * np.log(softmax(z[rest]))).sum()
        total -= mu * (labels * np.log(softmax(w))).sum()
    return float(total / len(logits))


CASES = {
    **{
        f"ps_kd share={a}": Case(
            lambda z, a=a: functional.ps_kd(z, LABELS, torch.from_numpy(PAST).to(z.dtype), a),
            lambda z, a=a: ps_kd(z, PAST, a),
            [LOGITS],
        )
        for a in (0.0, 0.3, 0.8)
    },
    **{
        f"virtual_teacher u={u} T={t}": Case(
            lambda z, p=(u, t): functional.virtual_teacher(z, LABELS, *p),
            lambda z, p=(u, t): virtual_teacher(z, *p),
            [LOGITS],
        )
        for u, t in ((0.99, 20.0), (0.9, 1.0))
    },
}
