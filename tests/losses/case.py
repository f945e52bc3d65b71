"""A loss, its formula in plain numpy, and arrays to try both on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Case:
    """`loss` takes the arrays as tensors, `oracle` takes them as they are; both return one number."""

    loss: Callable[..., Tensor]
    oracle: Callable[..., float]
    arrays: list[Array]


def draw(*shape: int, seed: int = 0) -> Array:
    """Normal numbers of standard deviation 2, the same for the same shape and seed."""
    return np.random.default_rng([seed, *shape]).normal(0, 2, shape)
