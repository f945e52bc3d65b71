"""Choosing a configuration by validation, and testing it alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

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
        """The validation accuracy of each finished job that has one; NaN is none."""
        found = [status.validation for status in self.finished.values()]
        return [value for value in found if value is not None and math.isfinite(value)]

    @property
    def mean(self) -> float | None:
        return mean(self.validation) if self.validation else None


def by_configuration(statuses: Mapping[str, Status], plan: Plan) -> list[Configuration]:
    """The configurations of a sweep, best first; those without a validation accuracy last."""
    found: dict[str, Configuration] = {}
    for name, status in statuses.items():
        choices = status.choices(plan.compared)
        found.setdefault(str(choices), Configuration(choices, {})).jobs[name] = status
    return sorted(found.values(), key=lambda one: -1.0 if one.mean is None else one.mean, reverse=True)


def select(configurations: list[Configuration]) -> Configuration | None:
    """The configuration with the highest mean validation accuracy over its seeds.

    One with failed seeds is chosen only where none is whole: of fewer seeds the best is higher by luck.
    """
    compared = [one for one in configurations if one.mean is not None]
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
    write_json(plan.folder / "sweep.json", record)
