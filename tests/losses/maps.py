"""Cases on layers of maps, and pooling in plain numpy."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tests.losses.case import Array, Case, draw

Shape = tuple[int, ...]
Layers = Sequence[Tensor]


def pool(maps: Array, size: tuple[int, int]) -> Array:
    """Means of cells [floor(i·n/m), ceil((i+1)·n/m)) in both dimensions."""
    for axis, cells in zip((2, 3), size, strict=True):
        n = maps.shape[axis]
        bounds = [(i * n // cells, -(-(i + 1) * n // cells)) for i in range(cells)]
        maps = np.stack([maps.take(range(*bound), axis).mean(axis) for bound in bounds], axis)
    return maps


def to_smaller(s: Array, t: Array) -> tuple[Array, Array]:
    size = (min(s.shape[2], t.shape[2]), min(s.shape[3], t.shape[3]))
    return pool(s, size), pool(t, size)


def layers_case(
    loss: Callable[[Layers, Layers], Tensor],
    oracle: Callable[[list[Array], list[Array]], float],
    *pairs: tuple[Shape, Shape],
) -> Case:
    """Of pairs of shapes; the arrays follow one another: all the student's, then all the teacher's."""
    n = len(pairs)
    return Case(
        lambda *maps: loss(maps[:n], maps[n:]),
        lambda *maps: oracle(list(maps[:n]), list(maps[n:])),
        [draw(*pair[side], seed=side) for side in (0, 1) for pair in pairs],
    )


def with_fixed_teacher(case: Case, students: int) -> Case:
    """The same of the student's arrays alone: the loss has no slope in the teacher's."""
    fixed = case.arrays[students:]
    return Case(
        lambda *maps: case.loss(*maps, *(torch.from_numpy(array).to(maps[0].dtype) for array in fixed)),
        lambda *maps: case.oracle(*maps, *fixed),
        case.arrays[:students],
    )
