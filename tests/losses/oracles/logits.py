"""The losses on logits in numpy, image by image where the formula says so."""

from collections.abc import Sequence

import numpy as np
import torch

from kd_lightning.losses import DKD, LogitStandardization, functional
from tests.losses.case import Array, Case, draw


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def cross_entropy(logits: Array, target: Array, smoothing: float = 0.0) -> float:
    classes = logits.shape[1]
    labels = (1 - smoothing) * np.eye(classes)[target] + smoothing / classes
    return float(-(labels * np.log(softmax(logits))).sum() / len(logits))


def divergence(p: Array, q: Array) -> float:
    return float((p * (np.log(p) - np.log(q))).sum())


def kd(student: Array, teacher: Array, temperature: float) -> float:
    return temperature**2 * divergence(softmax(teacher / temperature), softmax(student / temperature)) / len(student)


def mean_square(a: Array, b: Array) -> float:
    return float(((a - b) ** 2).sum() / a.size)


def dkd(student: Array, teacher: Array, target: Array, alpha: float, beta: float, temperature: float) -> float:
    total = 0.0
    for z_s, z_t, y in zip(student / temperature, teacher / temperature, target, strict=True):
        binary = [np.array([softmax(z)[y], 1 - softmax(z)[y]]) for z in (z_t, z_s)]
        rest = [softmax(np.delete(z, y)) for z in (z_t, z_s)]
        total += alpha * divergence(*binary) + beta * divergence(*rest)
    return temperature**2 * total / len(student)


def dist(student: Array, teacher: Array, beta: float, gamma: float, temperature: float) -> float:
    p_s, p_t = softmax(student / temperature), softmax(teacher / temperature)
    rows = [pearson(a, b) for a, b in zip(p_s, p_t, strict=True)]
    columns = [pearson(a, b) for a, b in zip(p_s.T, p_t.T, strict=True)]
    return float(temperature**2 * (beta * (1 - np.mean(rows)) + gamma * (1 - np.mean(columns))))


def pearson(a: Array, b: Array) -> float:
    """The correlation, after the public code with 1e-8 beside the product of the norms."""
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b) + 1e-8))


def standardize(logits: Array) -> Array:
    return np.stack([(z - z.mean()) / (np.sqrt(((z - z.mean()) ** 2).sum() / (len(z) - 1)) + 1e-7) for z in logits])


def wsld(student: Array, teacher: Array, target: Array, temperature: float) -> float:
    total = 0.0
    for z_s, z_t, y in zip(student, teacher, target, strict=True):
        ratio = np.log(softmax(z_s)[y]) / (np.log(softmax(z_t)[y]) - 1e-7)
        soft = -(softmax(z_t / temperature) * np.log(softmax(z_s / temperature))).sum()
        total += (1 - np.exp(-ratio)) * temperature**2 * soft
    return float(total / len(student))


def class_correlation(student: Array, teacher: Array, temperature: float) -> float:
    p_s, p_t = softmax(student / temperature), softmax(teacher / temperature)
    classes = range(student.shape[1])
    return sum((p_s[:, i] @ p_s[:, j] - p_t[:, i] @ p_t[:, j]) ** 2 for i in classes for j in classes) / len(classes)


def batch_correlation(student: Array, teacher: Array, temperature: float) -> float:
    p_s, p_t = softmax(student / temperature), softmax(teacher / temperature)
    images = range(len(student))
    return sum((p_s[i] @ p_s[j] - p_t[i] @ p_t[j]) ** 2 for i in images for j in images) / len(images)


def mlkd(
    student: Array, teacher: Array, student_strong: Array, teacher_strong: Array, temperatures: Sequence[float]
) -> float:
    """At 2 and 6 the second instance term compares the weak views again, as in the public code."""
    p = softmax(teacher)
    unsure = np.mean(p.max(axis=1) <= np.percentile(p.max(axis=1), 50))
    rare = np.mean(p.sum(axis=0) <= np.percentile(p.sum(axis=0), 50))
    total = 0.0
    for t in temperatures:
        total += unsure * (kd(student, teacher, t) + batch_correlation(student, teacher, t))
        total += rare * class_correlation(student, teacher, t)
        total += kd(student_strong, teacher_strong, t) if t in (3, 4, 5) else kd(student, teacher, t)
    return float(total)


def ofa(student: Array, teacher: Array, target: Array, eps: float, temperature: float) -> float:
    p_s, p_t = softmax(student / temperature), softmax(teacher / temperature)
    label = np.eye(student.shape[1])[target]
    return float(-(((p_t + label) ** eps - label) * np.log(p_s)).sum() / len(student))


def bce(logits: Array, target: Array) -> float:
    rows = []
    for z, y in zip(logits, target, strict=True):
        p = 1 / (1 + np.exp(-z))
        each = [-np.log(p[c]) if y[c] else -np.log(1 - p[c]) for c in range(len(y)) if y[c] >= 0]
        rows += [np.mean(each)] if each else []
    return float(np.mean(rows))


def bernoulli_kd(student: Array, teacher: Array, temperature: float) -> float:
    q, p = (1 / (1 + np.exp(-z / temperature)) for z in (student, teacher))
    return temperature**2 * float(np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))


TARGET = np.array([3, 0, 6, 6, 1])
SEVERAL = np.array([[1, 0, 0, 1, 1, 0, 0], [0] * 7, [-1, 1, -1, 0, 0, -100, 1], [-1] * 7, [1] * 7])
LABELS = torch.from_numpy(TARGET)
STUDENT, TEACHER = LOGITS = [draw(5, 7), draw(5, 7, seed=1)]
SURE = TEACHER + 60 * np.eye(7)[TARGET]  # the weight of WSLD is 1: without a slope of its own
PAIR, PAIR_TARGET = [draw(4, 2), draw(4, 2, seed=1)], np.array([0, 1, 1, 0])
VIEWS = [draw(4, 5, seed=seed) for seed in range(4)]
STANDARD_DKD = LogitStandardization(DKD(1.0, 2.0, 3.0))
CASES: dict[str, Case] = {
    **{
        f"kd T={t}": Case(lambda s, z, t=t: functional.kd(s, z, t), lambda s, z, t=t: kd(s, z, t), LOGITS)
        for t in (0.5, 1.0, 4.0, 20.0)
    },
    "kd with a learned temperature": Case(
        lambda s, z, theta: functional.kd(s, z, 1 + 20 * torch.sigmoid(theta)),
        lambda s, z, theta: kd(s, z, float(1 + 20 / (1 + np.exp(-theta)))),
        [*LOGITS, np.array(-1.5)],
    ),
    **{
        f"cross_entropy smoothing={e}": Case(
            lambda z, e=e: functional.cross_entropy(z, LABELS, e), lambda z, e=e: cross_entropy(z, TARGET, e), [STUDENT]
        )
        for e in (0.0, 0.1, 0.6)
    },
    "hard_label": Case(
        lambda s: functional.hard_label(s, torch.from_numpy(TEACHER)),
        lambda s: cross_entropy(s, TEACHER.argmax(axis=1)),
        [STUDENT],
    ),
    "mean_squared_logits": Case(functional.mean_squared_logits, mean_square, LOGITS),
    "mse": Case(functional.mse, mean_square, LOGITS),
    "mae": Case(functional.mae, lambda z, y: float(np.abs(z - y).sum() / z.size), LOGITS),
    "bce": Case(lambda z: functional.bce(z, torch.from_numpy(SEVERAL)), lambda z: bce(z, SEVERAL), [STUDENT]),
    **{
        f"bernoulli_kd T={t}": Case(
            lambda s, z, t=t: functional.bernoulli_kd(s, z, t), lambda s, z, t=t: bernoulli_kd(s, z, t), LOGITS
        )
        for t in (0.5, 1.0, 4.0)
    },
    **{
        f"dkd alpha={a} beta={b} T={t}": Case(
            lambda s, z, p=(a, b, t): functional.dkd(s, z, LABELS, *p),
            lambda s, z, p=(a, b, t): dkd(s, z, TARGET, *p),
            LOGITS,
        )
        for a, b, t in ((1.0, 8.0, 4.0), (1.0, 0.0, 1.0), (0.0, 2.0, 0.5))
    },
    "dkd of two classes": Case(
        lambda s, z: functional.dkd(s, z, torch.from_numpy(PAIR_TARGET)),
        lambda s, z: dkd(s, z, PAIR_TARGET, 1.0, 8.0, 4.0),
        PAIR,
    ),
    **{
        f"dist beta={b} gamma={g} T={t}": Case(
            lambda s, z, p=(b, g, t): functional.dist(s, z, *p), lambda s, z, p=(b, g, t): dist(s, z, *p), LOGITS
        )
        for b, g, t in ((1.0, 1.0, 1.0), (2.0, 0.0, 4.0), (0.0, 3.0, 4.0))
    },
    "logit_standardization_kd": Case(
        functional.logit_standardization_kd, lambda s, z: kd(standardize(s), standardize(z), 2.0), LOGITS
    ),
    "dkd of standardized logits": Case(
        lambda s, z: STANDARD_DKD(s, z, LABELS),
        lambda s, z: dkd(standardize(s), standardize(z), TARGET, 1.0, 2.0, 3.0),
        LOGITS,
    ),
    "wsld of a sure teacher": Case(
        lambda s: functional.wsld(s, torch.from_numpy(SURE).to(s.dtype), LABELS),
        lambda s: wsld(s, SURE, TARGET, 2.0),
        [STUDENT],
    ),
    **{
        f"class_correlation T={t}": Case(
            lambda s, z, t=t: functional.class_correlation(s, z, t),
            lambda s, z, t=t: class_correlation(s, z, t),
            LOGITS,
        )
        for t in (1.0, 4.0)
    },
    **{
        f"batch_correlation T={t}": Case(
            lambda s, z, t=t: functional.batch_correlation(s, z, t),
            lambda s, z, t=t: batch_correlation(s, z, t),
            LOGITS,
        )
        for t in (1.0, 4.0)
    },
    "mlkd": Case(functional.mlkd, lambda *views: mlkd(*views, (2, 3, 4, 5, 6)), VIEWS),
    **{
        f"ofa eps={e} T={t}": Case(
            lambda s, z, p=(e, t): functional.ofa(s, z, LABELS, *p),
            lambda s, z, p=(e, t): ofa(s, z, TARGET, *p),
            LOGITS,
        )
        for e, t in ((1.0, 1.0), (1.5, 1.0), (0.7, 2.0))
    },
}
