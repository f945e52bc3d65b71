"""Feature losses without trainable parts, in plain numpy."""

import itertools

import numpy as np

from kd_lightning.losses import functional
from tests.losses.case import Array, Case, draw
from tests.losses.maps import layers_case, pool, to_smaller


def mean_square(a: Array, b: Array) -> float:
    return float(((a - b) ** 2).sum() / a.size)


def attention(feature: Array, p: int) -> Array:
    flat = (np.abs(feature) ** p).mean(axis=1).reshape(len(feature), -1)
    return flat / np.sqrt((flat**2).sum(axis=1, keepdims=True))


def attention_transfer(student: list[Array], teacher: list[Array], p: int) -> float:
    pairs = [to_smaller(s, t) for s, t in zip(student, teacher, strict=True)]
    return sum(mean_square(attention(s, p), attention(t, p)) for s, t in pairs)


def kernel_mean(a: Array, b: Array) -> float:
    """Of one image: over all pairs of a channel of a and one of b, the squared cosine of their maps."""
    total = 0.0
    for f, g in itertools.product(a, b):
        total += ((f * g).sum() / np.sqrt((f * f).sum() * (g * g).sum())) ** 2
    return total / (len(a) * len(b))


def nst(student: list[Array], teacher: list[Array]) -> float:
    total = 0.0
    for s, t in (to_smaller(*pair) for pair in zip(student, teacher, strict=True)):
        for f, g in zip(s, t, strict=True):
            total += (kernel_mean(f, f) + kernel_mean(g, g) - 2 * kernel_mean(f, g)) / len(s)
    return total


def flow(bottom: Array, top: Array) -> Array:
    bottom, top = to_smaller(bottom, top)
    matrix = np.zeros((len(bottom), bottom.shape[1], top.shape[1]))
    for n, i, j in np.ndindex(*matrix.shape):
        matrix[n, i, j] = (bottom[n, i] * top[n, j]).mean()
    return matrix


def fsp(student: list[Array], teacher: list[Array]) -> float:
    pairs = range(len(student) - 1)
    return sum(mean_square(flow(*student[i : i + 2]), flow(*teacher[i : i + 2])) for i in pairs)


def hcl(student: list[Array], teacher: list[Array]) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        levels = [mean_square(s, t)]
        levels += [mean_square(pool(s, (n, n)), pool(t, (n, n))) for n in (4, 2, 1) if n < s.shape[2]]
        total += float(np.average(levels, weights=[1, 1 / 2, 1 / 4, 1 / 8][: len(levels)]))
    return total


def at_case(p: int, *pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> Case:
    return layers_case(
        lambda s, t: functional.attention_transfer(s, t, p), lambda s, t: attention_transfer(s, t, p), *pairs
    )


def same(*shapes: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(shape, shape) for shape in shapes]


MAPS = [draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)]
TOKENS = [draw(2, 5, 3), draw(2, 5, 3, seed=1)]
CASES = {
    "fitnet maps": Case(functional.fitnet, mean_square, MAPS),
    "fitnet tokens": Case(functional.fitnet, mean_square, TOKENS),
    "attention equal": at_case(2, ((3, 4, 4, 4), (3, 2, 4, 4))),
    "attention student smaller": at_case(2, ((2, 2, 2, 2), (2, 3, 4, 4))),
    "attention student larger": at_case(2, ((2, 2, 5, 5), (2, 3, 2, 2))),
    "attention crossing sizes": at_case(2, ((2, 2, 5, 2), (2, 3, 3, 4))),
    "attention two layers p=4": at_case(4, ((2, 2, 3, 3), (2, 3, 3, 3)), ((2, 2, 2, 2), (2, 4, 1, 2))),
    "nst few channels": layers_case(functional.nst, nst, ((2, 2, 3, 3), (2, 3, 3, 3))),
    "nst few positions": layers_case(functional.nst, nst, ((2, 6, 2, 2), (2, 5, 2, 2))),
    "nst student wider alone": layers_case(functional.nst, nst, ((2, 5, 2, 2), (2, 2, 2, 2))),
    "nst crossing sizes, two layers": layers_case(
        functional.nst, nst, ((2, 2, 5, 2), (2, 3, 3, 4)), ((2, 2, 3, 3), (2, 1, 4, 4))
    ),
    "fsp equal sizes": layers_case(functional.fsp, fsp, *same((2, 2, 3, 3), (2, 4, 3, 3))),
    "fsp shrinking": layers_case(functional.fsp, fsp, *same((2, 2, 4, 4), (2, 3, 2, 2), (2, 4, 1, 1))),
    "fsp growing, sizes differ": layers_case(
        functional.fsp, fsp, ((2, 2, 2, 2), (2, 2, 3, 3)), ((2, 3, 4, 5), (2, 3, 2, 2))
    ),
    "hcl all sizes": layers_case(functional.hcl, hcl, *same((2, 2, 5, 5))),
    "hcl 4x4": layers_case(functional.hcl, hcl, *same((2, 2, 4, 4))),
    "hcl layers": layers_case(functional.hcl, hcl, *same((2, 1, 3, 4), (2, 3, 2, 2), (2, 4, 1, 1))),
}
