"""Choosing a configuration by validation, and testing it alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from kd_lightning.columns import Column
from kd_lightning.runs.folder import SELECTION
from kd_lightning.runs.status import FAILED, FINISHED, Status
from kd_lightning.sweeps.plan import Plan
from kd_lightning.system.files import write_json


@dataclass(frozen=True)
class Configuration:
    """The jobs of a sweep that differ by their seed alone."""

    choices: dict[str, str]
    jobs: dict[str, Status]

    @property
    def finished(self) -> dict[str, Status]:
        return {name: status for name, status in self.jobs.items() if status.status == FINISHED}

    @property
    def validation(self) -> list[float]:
        """What each finished job reached on validation data, where it reached something; NaN is none."""
        found = [status.validation for status in self.finished.values()]
        return [value for value in found if value is not None and math.isfinite(value)]

    @property
    def column(self) -> Column | None:
        """What its jobs are compared by; None where that is not known, or not one."""
        found = {status.column for status in self.finished.values()}
        return found.pop() if len(found) == 1 else None

    @property
    def rank(self) -> float:
        """The higher, the better; of one without a result lower than any."""
        sign = 1.0 if self.column is None else self.column.sign
        return -math.inf if self.mean is None else sign * self.mean

    @property
    def mean(self) -> float | None:
        return mean(self.validation) if self.validation else None


def by_configuration(statuses: Mapping[str, Status], plan: Plan) -> list[Configuration]:
    """The configurations of a sweep, best first; those without a result on validation data last."""
    found: dict[str, Configuration] = {}
    for name, status in statuses.items():
        choices = status.choices(plan.compared)
        found.setdefault(str(choices), Configuration(choices, {})).jobs[name] = status
    return sorted(found.values(), key=lambda one: one.rank, reverse=True)


def select(configurations: list[Configuration]) -> Configuration | None:
    """The configuration with the best mean over its seeds on validation data; None where tasks differ.

    One with failed seeds is chosen only where none is whole: of fewer seeds the best is better by luck.
    """
    compared = [one for one in configurations if one.mean is not None]
    if len({one.column for one in compared}) > 1:
        return None
    whole = [one for one in compared if len(one.validation) == len(one.jobs)]
    return next(iter(whole or compared), None)


def write_sweep(plan: Plan, statuses: Mapping[str, Status], selected: Configuration | None) -> None:
    """sweep.json: how many jobs there were, and what was selected."""
    states = [status.status for status in statuses.values()]
    record: dict[str, Any] = {"selected": None, "jobs": plan.jobs}
    if selected is not None:
        jobs = list(selected.finished)
        record["selected"] = {"overrides": selected.choices, "jobs": jobs, "validation": selected.mean}
    record |= {"finished": states.count(FINISHED), "failed": states.count(FAILED)}
    write_json(plan.folder / SELECTION, record)
