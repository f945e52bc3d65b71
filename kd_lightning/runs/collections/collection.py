"""Runs that are shown together, and the configurations that they are of."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from kd_lightning.columns import Column, Compared, Measure
from kd_lightning.runs.collections.grouping import Group, best, grouped, is_compared
from kd_lightning.runs.collections.statistics import Spread, spread
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from kd_lightning.runs.summary import Network, Summary
from kd_lightning.runs.values import numbers

UNKNOWN = Compared("", (), Column("result", "result"))  # of runs whose summaries do not tell


class Configuration(Group[Run]):
    """The runs that differ by their seed alone."""

    def reached(self, metric: str) -> list[float]:
        """A metric of the networks that the runs are about, for each seed that has it."""
        return self.values(lambda run: run.reached(metric))

    def pairs(self, metric: str) -> list[tuple[float, float]]:
        """The same beside that of what they are compared with, for each seed that has both."""
        both = [run for run in self.runs if are_numbers(run.reached(metric), run.compared_with(metric))]
        paired = Configuration(self.choices, both)
        return list(zip(paired.reached(metric), paired.values(lambda run: run.compared_with(metric)), strict=True))

    def spread(self, metric: str) -> Spread | None:
        """A metric of the networks that the runs are about, over seeds."""
        return spread(self.reached(metric))


def are_numbers(*values: float | None) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


def networks_of(runs: Iterable[Run]) -> list[Network]:
    """The networks of runs, those of one name once, in the order of the first run that has them."""
    found: dict[str, Network] = {}
    for run in runs:
        for network in run.networks:
            found.setdefault(network.name, network)
    return [*found.values()]


@dataclass(frozen=True)
class Collection:
    """Runs, and what a sweep of them selected.

    `record` is a whole sweep's sweep.json; None for other runs, and where the sweep has not come to its end.
    `jobs` is how many a sweep has, as far as known.
    """

    title: str
    runs: list[Run]
    is_sweep: bool
    record: dict[str, Any] | None = None
    jobs: int | None = None

    @cached_property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == FINISHED]

    @cached_property
    def keys(self) -> list[str]:
        """What differs between the runs, but for the seed and the places."""
        keys = dict.fromkeys(key for run in self.runs for key in run.overrides)
        return [key for key in keys if is_compared(key) and len({run.value(key) for run in self.runs}) > 1]

    def choices(self, run: Run) -> dict[str, str]:
        return {key: run.value(key) for key in self.keys}

    @cached_property
    def configurations(self) -> list[Configuration]:
        """In the order of their first runs."""
        return grouped(Configuration, self.runs, self.choices)

    @cached_property
    def selected(self) -> Configuration | None:
        """The configuration that the sweep selected on validation data."""
        chosen = (self.record or {}).get("selected")
        if chosen is None:
            return None
        names = {str(name) for name in chosen["jobs"]}
        return next((one for one in self.configurations if names & {run.name for run in one.runs}), None)

    @cached_property
    def best(self) -> Configuration | None:
        """The configuration with the best mean of what is compared, of those whose seeds all have it."""
        return best(self.configurations, self.score)

    def score(self, run: Run) -> float | None:
        """What a run reached of what selects, the higher, the better."""
        reached = run.reached(self.selects_on.name)
        return None if reached is None else self.selects_on.column.sign * reached

    @property
    def shown(self) -> Configuration | None:
        """What is shown first."""
        return self.selected or self.best

    @cached_property
    def summaries(self) -> list[Summary]:
        return [run.summary for run in self.finished if run.summary is not None]

    @property
    def baseline(self) -> str | None:
        """What the results are compared with, by its title; None where no run has such a network."""
        return next((one.baseline.title for one in self.summaries if one.baseline is not None), None)

    @property
    def result_role(self) -> str:
        """What the runs are about, by its role where they agree on it."""
        roles = {one.result.role.value for one in self.summaries}
        return roles.pop() if len(roles) == 1 else "network"

    @property
    def results(self) -> str:
        """The same in the plural, by its title where that ends with its role."""
        titles = {one.result.title for one in self.summaries}
        title = titles.pop() if len(titles) == 1 else ""
        return f"{title if title.endswith(self.result_role) else self.result_role}s"

    @cached_property
    def compared(self) -> Compared:
        """What the runs are compared by, as their summaries tell it."""
        return next((found for run in self.finished if (found := run.compared) is not None), UNKNOWN)

    @cached_property
    def selects_on(self) -> Measure:
        """What the runs are compared by first: on validation data, or where there are none on the test data."""
        compared = self.compared
        validated = [run.reached(compared.validation.name) is not None for run in self.finished]
        return compared.test if validated and not any(validated) else compared.validation

    @cached_property
    def measures(self) -> list[Measure]:
        """What the tables of runs hold, as far as the network that a run is about has it."""
        shown = self.compared.measures()
        return [one for one in shown if any(run.reached(one.name) is not None for run in self.runs)]

    @cached_property
    def measured(self) -> list[tuple[Run, float]]:
        """The finished runs with what they are compared by."""
        values = [(run, run.reached(self.selects_on.name)) for run in self.finished]
        return [(run, value) for run, value in values if value is not None]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each run: what it was given, its state, and all of its numbers."""
        table = pd.DataFrame([self._row(run) for run in self.runs])
        for key in (*self.keys, "seed") if self.runs else ():
            if numbers(table[key]) is not None:
                table[key] = pd.to_numeric(table[key])
        return table

    def _row(self, run: Run) -> dict[str, Any]:
        row: dict[str, Any] = {"run": run.name, **self.choices(run), "seed": run.seed, "status": run.status}
        networks = sorted(run.networks, key=run.is_about)
        for network in networks[::-1]:
            row |= {f"{network.name}_{name}": value for name, value in network.record.items()}
        time = {} if run.summary is None else run.summary.time
        selected = self.selected is not None and run in self.selected.runs
        return {**row, **time} | {"selected": selected, "seconds": run.seconds, "error": run.error}
