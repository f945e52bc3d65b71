"""Runs that are shown together: one, several, or all jobs of a sweep."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from kd_lightning.config import register_resolvers
from kd_lightning.errors import UserError
from kd_lightning.reporting.runs import MISSING, Run, is_run, read_run, split
from kd_lightning.sweeps.plan import RECORD, grid
from kd_lightning.sweeps.status import FINISHED

METRICS = {"top1_validation": "validation top-1 %", "top1": "test top-1 %"}
# What decides no number: places, and what is shown.
NOT_COMPARED = ("seed", "test", "trainer.log_every_n_steps", "callbacks.progress_bar")
GROUPS_NOT_COMPARED = ("hydra", "paths", "logger")


@dataclass(frozen=True)
class Configuration:
    """The runs that differ by their seed alone."""

    choices: dict[str, str]
    runs: list[Run]

    def values(self, role: str, metric: str) -> list[float]:
        """A metric of each run that has it."""
        return [value for run in self.runs if (value := run.metric(role, metric)) is not None]

    def pairs(self, metric: str) -> list[tuple[float, float]]:
        """A metric of student and student alone, of each run that has both; the two share their seed."""
        both = [(run.metric("student", metric), run.metric("scratch", metric)) for run in self.runs]
        return [(student, scratch) for student, scratch in both if student is not None and scratch is not None]

    def __str__(self) -> str:
        return " ".join(f"{key}={shortened(value)}" for key, value in self.choices.items())


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
        compared = [key for key in keys if not (key in NOT_COMPARED or key.partition(".")[0] in GROUPS_NOT_COMPARED)]
        return [key for key in compared if len({self.value(run, key) for run in self.runs}) > 1]

    def value(self, run: Run, key: str) -> str:
        """What a run was given for a key: on the command line, else by its config."""
        if key in run.overrides:
            return run.overrides[key]
        return config_value(run.folder, key)

    def choices(self, run: Run) -> dict[str, str]:
        return {key: self.value(run, key) for key in self.keys}

    @cached_property
    def configurations(self) -> list[Configuration]:
        """In the order of their first runs."""
        found: dict[tuple[str, ...], Configuration] = {}
        for run in self.runs:
            choices = self.choices(run)
            found.setdefault(tuple(choices.values()), Configuration(choices, [])).runs.append(run)
        return list(found.values())

    @cached_property
    def selected(self) -> Configuration | None:
        """The configuration that the sweep selected on validation data."""
        chosen = (self.record or {}).get("selected")
        if chosen is None:
            return None
        names = {str(name) for name in chosen["jobs"]}
        return next((one for one in self.configurations if names & {run.name for run in one.runs}), None)

    @cached_property
    def selects_on(self) -> str:
        """What the runs are compared by: the metric's name in the summaries."""
        validated = [run.metric("student", "top1_validation") is not None for run in self.finished]
        return "top1" if validated and not any(validated) else "top1_validation"

    @property
    def measure(self) -> str:
        """What the runs are compared by, in words."""
        return METRICS[self.selects_on]

    @cached_property
    def measured(self) -> list[tuple[Run, float]]:
        """The finished runs with what they are compared by."""
        values = [(run, run.metric("student", self.selects_on)) for run in self.finished]
        return [(run, value) for run, value in values if value is not None]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each run: what it was given, its state, and all of its numbers."""
        table = pd.DataFrame([self._row(run) for run in self.runs])
        for key in self.keys:
            if numbers(table[key]) is not None:
                table[key] = pd.to_numeric(table[key])
        return table

    def _row(self, run: Run) -> dict[str, Any]:
        row: dict[str, Any] = {"run": run.name, **self.choices(run), "seed": run.seed, "status": run.status}
        for role in ("student", "scratch", "teacher"):
            network = (run.summary or {}).get(role) or {}
            row |= {f"{role}_{name}": value for name, value in network.items()}
        time = (run.summary or {}).get("time", {})
        selected = self.selected is not None and run in self.selected.runs
        return row | time | {"selected": selected, "seconds": run.seconds, "error": run.error}


def read(paths: Sequence[Path]) -> Collection:
    """What lies in the folders, runs or sweeps; raises `UserError` for a path that is neither."""
    sweeps = {path: sweep for path in paths if (sweep := read_sweep(path)) is not None}
    if len(paths) == 1 and sweeps:
        return sweeps[paths[0]]
    runs: list[Run] = []
    for path in paths:
        if path in sweeps:
            runs += [replace(run, name=f"{path.resolve().name}/{run.name}") for run in sweeps[path].runs]
        else:
            runs.append(read_run(path, None if len(paths) == 1 else str(path)))
    title = name_of(paths[0]) if len(paths) == 1 else f"{len(runs)} runs"
    return Collection(title, runs, is_sweep=False)


def read_sweep(folder: Path) -> Collection | None:
    """All jobs of a multirun's folder, those not begun too; None where the folder is no multirun's."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder that kd-train printed, or a multirun's")
    begun = sorted((path for path in folder.iterdir() if path.is_dir() and is_run(path)), key=job_number)
    if is_run(folder) or not (begun or (folder / RECORD).exists()):
        return None
    path = folder / "sweep.json"
    record = json.loads(path.read_text()) if path.exists() else None
    runs = {run.name: run for run in (read_run(path) for path in begun)}
    planned = planned_jobs(folder / RECORD)
    for number, overrides in enumerate(planned):
        name = str(number)
        runs.setdefault(name, Run(folder / name, name, MISSING, split(overrides)))
    ordered = sorted(runs.values(), key=lambda run: job_number(run.folder))
    jobs = record["jobs"] if record else len(planned) or number_of_trials(folder / RECORD)
    return Collection(name_of(folder), ordered, True, record, jobs)


def name_of(folder: Path) -> str:
    """A folder's name, with the day in front where that is the folder around it."""
    *_, day, name = folder.resolve().parts
    return f"{day} {name}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) else name


def job_number(folder: Path) -> tuple[int, str]:
    return len(folder.name), folder.name


def planned_jobs(record: Path) -> list[list[str]]:
    """The overrides of every job of a grid, in the jobs' order; none where only the sweeper knew them."""
    if not record.exists() or number_of_trials(record) is not None:
        return []
    task = list(OmegaConf.load(record).hydra.overrides.task)
    try:
        return grid(OverridesParser.create().parse_overrides(task))
    except HydraException:  # a choice of configs by pattern, which only the run itself can look up
        return []


def number_of_trials(record: Path) -> int | None:
    """How many jobs a search has; None for a grid."""
    if not record.exists():
        return None
    trials: int | None = OmegaConf.select(OmegaConf.load(record), "hydra.sweeper.n_trials")
    return trials


def config_value(folder: Path, key: str) -> str:
    """A key of a run's config, as on the command line; nothing where it is not there."""
    path = folder / ".hydra" / "config.yaml"
    if not path.exists():
        return ""
    register_resolvers()
    value = OmegaConf.select(OmegaConf.load(path), key, default="")
    return "null" if value is None else str(value)


def in_order(values: Sequence[str]) -> list[str]:
    """The distinct values, by number where they are all numbers."""
    distinct = list(dict.fromkeys(values))
    found = numbers(distinct)
    return sorted(distinct) if found is None else [value for _, value in sorted(zip(found, distinct, strict=True))]


def numbers(values: Iterable[str]) -> list[float] | None:
    """All values as numbers, or None where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def shortened(value: str) -> str:
    """A number with four digits; anything else as it is."""
    try:
        return value if len(value) <= 6 else f"{float(value):.4g}"
    except ValueError:
        return value
