"""Losses on relations, in numpy, pair by pair and triplet by triplet."""

from itertools import product
from math import exp, factorial

import numpy as np

from kd_lightning.losses import functional
from tests.losses.case import Array, Case, draw


def cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def similarity_preserving(student: Array, teacher: Array) -> float:
    def similarities(features: Array) -> Array:
        rows = [np.array([np.sum(a * b) for b in features]) for a in features]
        return np.array([row / np.sqrt(np.sum(row**2)) for row in rows])

    return float(np.linalg.norm(similarities(student) - similarities(teacher), "fro") ** 2 / len(student) ** 2)


def correlation_congruence_adjacent(student: Array, teacher: Array) -> float:
    products = [abs(student[i] - teacher[i]) @ abs(student[i + 1] - teacher[i + 1]) for i in range(len(student) - 1)]
    return float(np.mean(products))


def correlation_congruence_kernel(student: Array, teacher: Array, gamma: float = 0.4, order: int = 2) -> float:
    def kernel(a: Array, b: Array) -> float:
        return sum(exp(-2 * gamma) * (2 * gamma) ** p / factorial(p) * cosine(a, b) ** p for p in range(order + 1))

    pairs = list(product(range(len(student)), repeat=2))
    return float(np.mean([(kernel(student[i], student[j]) - kernel(teacher[i], teacher[j])) ** 2 for i, j in pairs]))


def pkt(student: Array, teacher: Array) -> float:
    epsilon = 1e-7

    def probabilities(embeddings: Array) -> Array:
        unit = [e / (np.linalg.norm(e) + epsilon) for e in embeddings]
        similarity = np.array([[(a @ b + 1) / 2 for b in unit] for a in unit])
        return similarity / similarity.sum(axis=1)[:, None]

    p_s, p_t = probabilities(student), probabilities(teacher)
    return float(np.mean(p_t * np.log((p_t + epsilon) / (p_s + epsilon))))


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def rkd(student: Array, teacher: Array, distance_weight: float = 25, angle_weight: float = 50) -> float:
    batch = range(len(student))

    def distances(e: Array) -> Array:
        lengths = np.array([[np.linalg.norm(e[i] - e[j]) for j in batch] for i in batch])
        return lengths / lengths[lengths > 0].mean()

    def angle(e: Array, i: int, j: int, k: int) -> float:
        return cosine(e[j] - e[i], e[k] - e[i])

    d_s, d_t = distances(student), distances(teacher)
    of_pairs = np.mean([huber(d_s[i, j] - d_t[i, j]) for i, j in product(batch, repeat=2)])
    of_triplets = np.mean([huber(angle(student, *t) - angle(teacher, *t)) for t in product(batch, repeat=3)])
    return float(distance_weight * of_pairs + angle_weight * of_triplets)


PAIR = [draw(5, 3), draw(5, 4, seed=1)]
CASES = {
    "similarity_preserving": Case(
        functional.similarity_preserving, similarity_preserving, [draw(4, 2, 2, 2), draw(4, 3, 1, 2, seed=1)]
    ),
    "correlation_congruence_adjacent": Case(
        functional.correlation_congruence_adjacent,
        correlation_congruence_adjacent,
        [draw(5, 3), draw(5, 3, seed=1)],
    ),
    "correlation_congruence_kernel": Case(
        functional.correlation_congruence_kernel, correlation_congruence_kernel, PAIR
    ),
    "correlation_congruence_kernel of order 4": Case(
        lambda s, t: functional.correlation_congruence_kernel(s, t, gamma=1.5, order=4),
        lambda s, t: correlation_congruence_kernel(s, t, gamma=1.5, order=4),
        PAIR,
    ),
    "pkt": Case(functional.pkt, pkt, PAIR),
    "rkd": Case(functional.rkd, rkd, PAIR),
    "rkd of distances": Case(lambda s, t: functional.rkd(s, t, 2, 0), lambda s, t: rkd(s, t, 2, 0), PAIR),
    "rkd of angles": Case(lambda s, t: functional.rkd(s, t, 0, 3), lambda s, t: rkd(s, t, 0, 3), PAIR),
}
