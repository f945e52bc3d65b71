"""Paces: the share of the samples that is in use at each moment of a training."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import ROUNDING

STEEPNESS = 10.0  # of the exponential and the logarithmic pace, as published
EPISODES = tuple(epoch / 300 for epoch in (5, 10, 15, 20, 30, 40, 60, 90, 140, 210))  # those of DIHCL's authors


class Pace(ABC):
    """The share of the samples in use, which grows from `start` to 1 in the first part `full_at` of the training.

    b + (1 - b)·g(t/a) for the training's fraction t < a, and 1 from there on, where b is `start`, a is `full_at` and g
    grows from 0 to 1 (Wu, Dyer, Neyshabur 2021, arXiv:2012.03107, where the shares are of steps). One of your own is a
    subclass with `grown`. Raises UserError for a share outside of (0, 1].

    Examples:
        >>> from kd_lightning.curricula import Pace
        >>> class Cubic(Pace):
        ...     def grown(self, time: float) -> float:
        ...         return time**3
        >>> pace = Cubic(start=0.5, full_at=0.5)
        >>> [pace(fraction) for fraction in (0.0, 0.25, 0.5, 1.0)]
        [0.5, 0.5625, 1.0, 1.0]
    """

    def __init__(self, start: float = 0.2, full_at: float = 0.8) -> None:
        for name, value in (("start", start), ("full_at", full_at)):
            if not 0 < value <= 1:
                raise UserError(f"{name}={value}: must be a share above 0, and 1 at most")
        self.start, self.full_at = start, full_at

    def __call__(self, fraction: float) -> float:
        """The share at a training's fraction, both from 0 to 1."""
        time = fraction / self.full_at
        return 1.0 if time >= 1 - ROUNDING else self.start + (1 - self.start) * self.grown(time)

    @abstractmethod
    def grown(self, time: float) -> float:
        """How much of the growth is done at a time of 0 up to 1, from 0 to 1."""


class Linear(Pace):
    """g(t) = t, as in `Pace`.

    Examples:
        >>> from kd_lightning.curricula import Linear
        >>> Linear(start=0.5, full_at=1.0)(0.5)
        0.75
    """

    def grown(self, time: float) -> float:
        return time


class Quadratic(Pace):
    """g(t) = t², slow at first, as in `Pace`.

    Examples:
        >>> from kd_lightning.curricula import Quadratic
        >>> Quadratic(start=0.5, full_at=1.0)(0.5)
        0.625
    """

    def grown(self, time: float) -> float:
        return time**2


class Root(Pace):
    """g(t) = t^(1/p), fast at first, as in `Pace`; p is `power`. Raises UserError for one that is not above 0.

    Examples:
        >>> from kd_lightning.curricula import Root
        >>> Root(start=0.5, full_at=1.0, power=2)(0.25)
        0.75
    """

    def __init__(self, start: float = 0.2, full_at: float = 0.8, power: float = 2.0) -> None:
        super().__init__(start, full_at)
        if power <= 0:
            raise UserError(f"power={power}: must be above 0; 2 is the square root")
        self.power = power

    def grown(self, time: float) -> float:
        return float(time ** (1 / self.power))


class Exponential(Pace):
    """g(t) = (exp(10·t) - 1) / (exp(10) - 1), slow for long, as in `Pace`.

    Examples:
        >>> from kd_lightning.curricula import Exponential
        >>> round(Exponential(start=0.5, full_at=1.0)(0.5), 3)
        0.503
    """

    def grown(self, time: float) -> float:
        return math.expm1(STEEPNESS * time) / math.expm1(STEEPNESS)


class Logarithmic(Pace):
    """g(t) = 1 + log(t + exp(-10)) / 10, fast at first, as in `Pace`; 0 at the start.

    Examples:
        >>> from kd_lightning.curricula import Logarithmic
        >>> round(Logarithmic(start=0.5, full_at=1.0)(0.5), 3)
        0.965
    """

    def grown(self, time: float) -> float:
        return min(1.0, max(0.0, 1 + math.log(time + math.exp(-STEEPNESS)) / STEEPNESS))


class Step(Pace):
    """The start's share alone, then all at once, as in `Pace`: g(t) = 0.

    Examples:
        >>> from kd_lightning.curricula import Step
        >>> [Step(start=0.5, full_at=0.5)(fraction) for fraction in (0.4, 0.5)]
        [0.5, 1.0]
    """

    def grown(self, time: float) -> float:
        return 0.0


class BabySteps(Pace):
    """Buckets of equal size, one more at a time (Spitkovsky, Alshawi, Jurafsky 2010): g(t) = ⌊t·(k - 1)⌋ / (k - 1).

    k is `buckets`; the first one is the start's share. Raises UserError for fewer than 2.

    Examples:
        >>> from kd_lightning.curricula import BabySteps
        >>> pace = BabySteps(start=0.25, full_at=1.0, buckets=4)
        >>> [pace(fraction) for fraction in (0.0, 0.3, 0.4, 0.99)]
        [0.25, 0.25, 0.5, 0.75]
    """

    def __init__(self, start: float = 0.2, full_at: float = 0.8, buckets: int = 5) -> None:
        super().__init__(start, full_at)
        if buckets < 2:
            raise UserError(f"buckets={buckets}: must be at least 2")
        self.buckets = buckets

    def grown(self, time: float) -> float:
        return math.floor(time * (self.buckets - 1) + ROUNDING) / (self.buckets - 1)


class Shrinking(Pace):
    """All samples in the first episode, then a share that falls from one to the next: max(least, (1 - rate)^e).

    e counts the `episodes` that have begun, fractions of the training; None: the authors', at epochs 5, 10, 15, 20, 30,
    40, 60, 90, 140, 210 of 300 (DIHCL, Zhou, Wang, Bilmes 2020, NeurIPS: by 0.1, to 0.3 on CIFAR-10 and to 0.4 on
    CIFAR-100). Raises UserError for values that cannot be.

    Examples:
        >>> from kd_lightning.curricula import Shrinking
        >>> pace = Shrinking(rate=0.5, least=0.3, episodes=[0.2, 0.6])
        >>> [pace(fraction) for fraction in (0.0, 0.2, 0.7)]
        [1.0, 0.5, 0.3]
    """

    def __init__(self, rate: float = 0.1, least: float = 0.3, episodes: Sequence[float] | None = None) -> None:
        super().__init__(start=least, full_at=1.0)
        if not 0 < rate < 1:
            raise UserError(f"rate={rate}: must be a share above 0 and below 1")
        self.rate, self.least, self.episodes = rate, least, checked(episodes)

    def __call__(self, fraction: float) -> float:
        return max(self.least, (1 - self.rate) ** episode_at(fraction, self.episodes))

    def grown(self, time: float) -> float:
        return 0.0  # which nothing asks


def checked(episodes: Sequence[float] | None) -> tuple[float, ...]:
    """The beginnings of episodes behind the first. Raises UserError unless they ascend between 0 and 1."""
    given = EPISODES if episodes is None else tuple(episodes)
    if any(not before < after for before, after in pairwise((0.0, *given, 1.0))):
        raise UserError(f"episodes={[*given]}: must ascend between 0 and 1, fractions of the training")
    return given


def episode_at(fraction: float, episodes: Sequence[float]) -> int:
    """Which episode it is, counted from 0."""
    return sum(fraction + ROUNDING >= begin for begin in episodes)
