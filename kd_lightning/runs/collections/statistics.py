"""Means over seeds and how sure they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
EQUAL = 1e-12  # values that differ by less are the same number


@dataclass(frozen=True)
class Spread:
    """A mean over `n` values, their standard deviation, and the mean's 95 % interval by Student's t.

    With one value there is no deviation and no interval.
    """

    n: int
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None

    def text(self, form: Callable[[float], str]) -> str:
        """The mean, with its standard deviation where there is one."""
        return form(self.mean) if self.deviation is None else f"{form(self.mean)} ± {form(self.deviation)}"


@dataclass(frozen=True)
class Paired:
    """A mean difference with its 95 % interval, and the p-value of a two-sided paired t-test.

    Without a spread of the differences, of one pair or of equal ones, there is no p-value.
    """

    difference: Spread
    p: float | None


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of finite values; None without any."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if n == 0:
        return None
    mean = float(finite.mean())
    if n == 1:
        return Spread(1, mean)
    if np.ptp(finite) < EQUAL:
        return Spread(n, mean, 0.0, mean, mean)
    deviation = float(finite.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / n**0.5
    return Spread(n, mean, deviation, mean - half, mean + half)


def paired(pairs: Sequence[tuple[float, float]], sign: float = 1.0) -> Paired | None:
    """How much better the first of each pair is, higher for a sign of 1, lower for -1; None without pairs."""
    difference = spread([sign * (first - second) for first, second in pairs])
    if difference is None:
        return None
    if not difference.deviation:
        return Paired(difference, None)
    t = difference.mean / (difference.deviation / difference.n**0.5)
    return Paired(difference, float(2 * stats.t.sf(abs(t), difference.n - 1)))
