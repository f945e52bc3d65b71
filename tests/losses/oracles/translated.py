"""Losses on features that a trained module has translated, and through a classifier, in plain numpy and scipy."""

import numpy as np
from scipy import stats

from kd_lightning.losses import CATKD, functional
from tests.losses.case import Array, Case, draw
from tests.losses.maps import pool, to_smaller


def mean_square(a: Array, b: Array) -> float:
    return float(((a - b) ** 2).sum() / a.size)


def factor(feature: Array, p1: int) -> Array:
    flat = (feature**p1).sum(axis=1).reshape(len(feature), -1)
    return np.stack([row / np.linalg.norm(row) for row in flat])


def factor_transfer(student: Array, teacher: Array, p1: int, p2: int) -> float:
    s, t = (factor(f, p1) for f in to_smaller(student, teacher))
    return float((np.abs(s - t) ** p2).mean())


def variational_information(mean: Array, teacher: Array, log_scale: Array, eps: float) -> float:
    mean, teacher = to_smaller(mean, teacher)
    deviation = np.sqrt(np.logaddexp(0, log_scale) + eps)[None, :, None, None]
    likelihood = stats.norm.logpdf(teacher, loc=mean, scale=deviation)
    return float(-likelihood.mean() - 0.5 * np.log(2 * np.pi))


def srrl(student: Array, teacher: Array, student_logits: Array, teacher_logits: Array) -> float:
    return mean_square(student, teacher) + mean_square(student_logits, teacher_logits)


def cat_kd(student: Array, teacher: Array, resolution: int, normalize: bool) -> float:
    total, shape = 0.0, (*student.shape[:2],)
    for n, k in np.ndindex(*shape):
        maps = [pool(cam[n : n + 1, k : k + 1], (resolution, resolution)) for cam in (student, teacher)]
        s, t = (cam / np.sqrt((cam**2).sum()) if normalize else cam for cam in maps)
        total += mean_square(s, t)
    return total / (shape[0] * shape[1])


def class_maps(feature: Array, weight: Array) -> Array:
    maps = np.zeros((len(feature), len(weight), *feature.shape[2:]))
    for n, k, h, w in np.ndindex(*maps.shape):
        maps[n, k, h, w] = sum(feature[n, :, h, w] * weight[k])
    return maps


def ft_case(p1: int, p2: int, *arrays: Array) -> Case:
    return Case(
        lambda s, t: functional.factor_transfer(s, t, p1, p2),
        lambda s, t: factor_transfer(s, t, p1, p2),
        list(arrays),
    )


def cat_case(resolution: int, normalize: bool, *arrays: Array) -> Case:
    return Case(
        lambda s, t: functional.cat_kd(s, t, resolution, normalize),
        lambda s, t: cat_kd(s, t, resolution, normalize),
        list(arrays),
    )


def vid_case(eps: float, *arrays: Array) -> Case:
    return Case(
        lambda m, t, scale: functional.variational_information(m, t, scale, eps),
        lambda m, t, scale: variational_information(m, t, scale, eps),
        list(arrays),
    )


CASES = {
    "factor_transfer": ft_case(2, 1, draw(2, 3, 3, 3), draw(2, 2, 3, 3)),
    "factor_transfer p1=4 p2=2": ft_case(4, 2, draw(2, 3, 2, 2), draw(2, 2, 2, 2)),
    "factor_transfer crossing sizes": ft_case(2, 1, draw(2, 3, 4, 2), draw(2, 2, 3, 3)),
    "variational_information": vid_case(1e-5, draw(2, 3, 3, 3), draw(2, 3, 3, 3, seed=1), draw(3)),
    "variational_information pooled": vid_case(0.1, draw(2, 3, 2, 2), draw(2, 3, 4, 5), 3 * draw(3)),
    "simkd": Case(functional.simkd, mean_square, [draw(2, 3, 2, 2), draw(2, 3, 2, 2, seed=1)]),
    "simkd teacher larger": Case(
        functional.simkd, lambda s, t: mean_square(*to_smaller(s, t)), [draw(2, 3, 2, 2), draw(2, 3, 4, 3)]
    ),
    "srrl": Case(functional.srrl, srrl, [draw(3, 4), draw(3, 4, seed=1), draw(3, 5), draw(3, 5, seed=1)]),
    "cat_kd": cat_case(2, True, draw(2, 3, 4, 4), draw(2, 3, 5, 5)),
    "cat_kd not normalized": cat_case(2, False, draw(2, 3, 4, 4), draw(2, 3, 2, 2)),
    "cat_kd finer than the maps": cat_case(4, True, draw(2, 2, 4, 4), draw(2, 2, 3, 3)),
    "cat_kd of features and classifiers": Case(
        CATKD(),
        lambda s, u, t, v: cat_kd(class_maps(s, u), class_maps(t, v), 2, True),
        [draw(2, 2, 3, 3), draw(3, 2), draw(2, 4, 5, 4), draw(3, 4)],
    ),
}
