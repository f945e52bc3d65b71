"""Choosing a configuration by validation, and testing it alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kd_lightning.columns import Column
from kd_lightning.runs.collections.grouping import Group, best, grouped, ranked
from kd_lightning.runs.files import SELECTION
from kd_lightning.runs.status import FAILED, FINISHED, Status
from kd_lightning.sweeps.plan import Plan
from kd_lightning.system.files import write_json


@dataclass(frozen=True)
class Job:
    """A job that has begun, by its folder's path below the sweep's."""

    name: str
    status: Status

    @property
    def seed(self) -> str:
        return self.status.seed

    @property
    def validation(self) -> float | None:
        """What it reached on validation data where it has finished; NaN is nothing."""
        found = self.status.validation if self.status.status == FINISHED else None
        return found if found is not None and math.isfinite(found) else None


class Configuration(Group[Job]):
    """The jobs of a sweep that differ by their seed alone."""

    @property
    def finished(self) -> list[str]:
        """The names of those that have."""
        return [job.name for job in self.runs if job.status.status == FINISHED]

    @property
    def column(self) -> Column | None:
        """What its jobs are compared by; None where that is not known, or not one."""
        found = {job.status.column for job in self.runs if job.status.status == FINISHED}
        return found.pop() if len(found) == 1 else None

    @property
    def reached(self) -> float | None:
        """The mean on validation data over its seeds."""
        return self.mean(lambda job: job.validation)


def score(job: Job) -> float | None:
    """What a job reached, the higher, the better."""
    sign = 1.0 if job.status.column is None else job.status.column.sign
    return None if job.validation is None else sign * job.validation


def by_configuration(statuses: Mapping[str, Status], plan: Plan) -> list[Configuration]:
    """The configurations of a sweep, best first; those without a result on validation data last."""
    jobs = [Job(name, status) for name, status in statuses.items()]
    found = grouped(Configuration, jobs, lambda job: job.status.choices(plan.compared))
    return ranked(found, score)


def select(configurations: list[Configuration]) -> Configuration | None:
    """The configuration with the best mean over its seeds on validation data; None where tasks differ."""
    compared = {one.column for one in configurations if one.reached is not None}
    return None if len(compared) > 1 else best(configurations, score)


def write_sweep(plan: Plan, statuses: Mapping[str, Status], selected: Configuration | None) -> None:
    """sweep.json: how many jobs there were, and what was selected."""
    states = [status.status for status in statuses.values()]
    record: dict[str, Any] = {"selected": None, "jobs": plan.jobs}
    if selected is not None:
        record["selected"] = {
            "overrides": selected.choices,
            "jobs": selected.finished,
            "validation": selected.reached,
        }
    record |= {"finished": states.count(FINISHED), "failed": states.count(FAILED)}
    write_json(plan.folder / SELECTION, record)
