"""Losses on pre-activations, in plain numpy and scipy."""

import numpy as np
from scipy import integrate, stats

from kd_lightning.losses import OFD, functional
from tests.losses.case import Array, Case, draw
from tests.losses.maps import layers_case, pool, with_fixed_teacher


def activation_boundary(student: list[Array], teacher: list[Array], margin: float) -> float:
    total = 0.0
    for layer, (s, t) in enumerate(zip(student, teacher, strict=True)):
        for index in np.ndindex(*s.shape):
            if t[index] > 0 and s[index] <= margin:
                total += (s[index] - margin) ** 2 / 2 ** (len(student) - 1 - layer)
            if t[index] <= 0 and s[index] > -margin:
                total += (s[index] + margin) ** 2 / 2 ** (len(student) - 1 - layer)
    return total / len(student[0]) * 3 / 1000


def partial_l2(student: Array, teacher: Array, margin: Array) -> float:
    total = 0.0
    for n, c, h, w in np.ndindex(*student.shape):
        s, t, m = student[n, c, h, w], teacher[n, c, h, w], margin[0, c, 0, 0]
        if t > 0 or s > t > m:
            total += (s - t) ** 2
        elif t <= m < s:
            total += (s - m) ** 2
    return total / len(student)


def mean_below_zero(scale: float, shift: float) -> float:
    """By numeric integration of the normal density."""
    normal = stats.norm(shift, abs(scale))
    if normal.cdf(0) <= 0.001:
        return -3 * abs(scale)
    limits = (min(0.0, shift) - 12 * abs(scale), 0.0)
    part, _ = integrate.quad(
        lambda x: x * normal.pdf(x), *limits, points=[min(shift, 0.0)], epsabs=0, epsrel=1e-12, limit=200
    )
    return part / normal.cdf(0)


def margins(scale: Array, shift: Array) -> float:
    return sum(mean_below_zero(*pair) for pair in zip(scale, shift, strict=True))


def ofd(student: list[Array], teacher: list[Array], scales: list[Array], shifts: list[Array]) -> float:
    total = 0.0
    for layer, (s, t) in enumerate(zip(student, teacher, strict=True)):
        means = [mean_below_zero(*pair) for pair in zip(scales[layer], shifts[layer], strict=True)]
        pooled = pool(t, (s.shape[2], s.shape[3]))
        total += partial_l2(s, pooled, np.array(means)[None, :, None, None]) / 2 ** (len(student) - 1 - layer)
    return total


def ab_case(margin: float, *shapes: tuple[int, ...]) -> Case:
    case = layers_case(
        lambda s, t: functional.activation_boundary(s, t, margin),
        lambda s, t: activation_boundary(s, t, margin),
        *[(shape, shape) for shape in shapes],
    )
    return with_fixed_teacher(case, len(shapes))


SCALES, SHIFTS = [draw(2, seed=2), draw(3, seed=2)], [draw(2, seed=3) / 4, draw(3, seed=3) / 4]
OFD_CASE = Case(
    lambda *x: OFD()(x[:2], x[2:4], x[4:6], x[6:]),
    lambda *x: ofd(list(x[:2]), list(x[2:4]), list(x[4:6]), list(x[6:])),
    [draw(2, 2, 3, 3), draw(2, 3, 2, 2), draw(2, 2, 5, 3, seed=1), draw(2, 3, 1, 1, seed=1), *SCALES, *SHIFTS],
)
CASES = {
    "activation_boundary margin=1": ab_case(1.0, (2, 3, 3, 3)),
    "activation_boundary margin=0.5, three layers": ab_case(0.5, (3, 2, 2, 2), (3, 1, 3, 2), (3, 4, 1, 1)),
    "ofd_partial_l2": Case(
        functional.ofd_partial_l2,
        partial_l2,
        [draw(2, 3, 3, 3), draw(2, 3, 3, 3, seed=1), -np.abs(draw(1, 3, 1, 1))],
    ),
    "margin_relu_margin": Case(
        lambda scale, shift: functional.margin_relu_margin(scale, shift).sum(),
        margins,
        [np.array([1.0, -2.0, 0.5, 3.0, 0.4]), np.array([0.0, 1.5, -2.0, -0.1, 1.9])],
    ),
    "ofd": with_fixed_teacher(OFD_CASE, 2),
}
