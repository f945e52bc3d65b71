"""Measuring contestants in alternation, and a row of the table."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch


class Effort(NamedTuple):
    """How long to measure: steps after so many of warm-up, in each of the repeats."""

    steps: int
    warm_up: int
    repeats: int


Contestant = Callable[[int, int], float]
"""Makes steps (the second number) after those of warm-up (the first); returns the seconds of the steps alone."""


@dataclass
class Row:
    """A line of the table; `ratio` is oriented as `what` says, `samples` holds each repeat by contestant."""

    part: str
    what: str
    theirs: float | None
    ours: float
    unit: str
    ratio: float | None
    samples: dict[str, list[float]] = field(default_factory=dict)


def alternate(contestants: Mapping[str, Contestant], effort: Effort) -> dict[str, list[float]]:
    """Seconds of a step for each contestant and repeat; every other round goes backwards, so that drift cancels."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for contestant in contestants.values():
        contestant(effort.warm_up, 1)
    for repeat in range(effort.repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            seconds[name].append(contestants[name](effort.warm_up, effort.steps) / effort.steps)
            say(f"  {name}: {1000 * seconds[name][-1]:.1f} ms a step")
    return seconds


def stepwise(steps: Iterator[None]) -> Contestant:
    """A contestant whose steps are an endless iterator's."""

    def run(warm_up: int, count: int) -> float:
        for _ in range(warm_up):
            next(steps)
        began = now()
        for _ in range(count):
            next(steps)
        return now() - began

    return run


def now() -> float:
    """Seconds, once the GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median over the repeats of the ratios of neighbours in time."""
    return statistics.median(n / d for n, d in zip(numerator, denominator, strict=True))


def say(line: str) -> None:
    """Progress goes to stderr; the table alone to stdout."""
    print(line, file=sys.stderr, flush=True)
