"""What groups runs into configurations, by everything but the seed, and what ranks these."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, mean
from typing import Any, Generic, Protocol, TypeVar

from kd_lightning.runs.status import text

# What decides no number: places, and what is shown.
NOT_COMPARED = ("seed", "test", "trainer.log_every_n_steps", "callbacks.progress_bar")
GROUPS_NOT_COMPARED = ("hydra", "paths", "logger")


class Seeded(Protocol):
    """A run, or a job of a sweep."""

    @property
    def seed(self) -> str: ...


R = TypeVar("R", bound=Seeded)


@dataclass(frozen=True)
class Group(Generic[R]):
    """The runs that differ by their seed alone, and what they have in common."""

    choices: dict[str, str]
    runs: list[R]

    @property
    def seeds(self) -> list[str]:
        return list(dict.fromkeys(run.seed for run in self.runs))

    def by_seed(self, number: Callable[[R], float | None]) -> dict[str, float]:
        """A finite number for each seed that has it: the mean over its runs, for a second run is no second witness."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            if (value := number(run)) is not None and math.isfinite(value):
                found.setdefault(run.seed, []).append(value)
        return {seed: fmean(values) for seed, values in found.items()}

    def values(self, number: Callable[[R], float | None]) -> list[float]:
        """The same without their seeds."""
        return [*self.by_seed(number).values()]

    def mean(self, number: Callable[[R], float | None]) -> float | None:
        """The mean over seeds; None where no seed has it."""
        values = self.values(number)
        return mean(values) if values else None

    def __str__(self) -> str:
        return text(self.choices)


G = TypeVar("G", bound="Group[Any]")


def is_compared(key: str) -> bool:
    """Whether runs with other values for a key are of another configuration."""
    key = key.lstrip("+")
    return key not in NOT_COMPARED and key.partition(".")[0] not in GROUPS_NOT_COMPARED


def grouped(kind: type[G], runs: Iterable[R], choices: Callable[[R], dict[str, str]]) -> list[G]:
    """Runs by what they have chosen, in the order of their first ones."""
    found: dict[str, G] = {}
    for run in runs:
        chosen = choices(run)
        found.setdefault(str(chosen), kind(chosen, [])).runs.append(run)
    return list(found.values())


def ranked(groups: Iterable[G], score: Callable[[R], float | None]) -> list[G]:
    """The highest mean of a score first, those without one last."""

    def rank(one: G) -> float:
        reached = one.mean(score)
        return -math.inf if reached is None else reached

    return sorted(groups, key=rank, reverse=True)


def best(groups: Sequence[G], score: Callable[[R], float | None]) -> G | None:
    """The one with the highest mean of a score; None where none has one.

    One with seeds that have none is chosen only where none is whole: of fewer seeds the best is better by luck.
    """
    scored = [one for one in groups if one.values(score)]
    whole = [one for one in scored if len(one.values(score)) == len(one.seeds)]
    return next(iter(ranked(whole or scored, score)), None)
