"""A run's folder, read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from kd_lightning.columns import Compared
from kd_lightning.errors import UserError
from kd_lightning.runs.arrays import arrays_of, sound_arrays
from kd_lightning.runs.caution import with_parts
from kd_lightning.runs.config import stored_values
from kd_lightning.runs.files import AS_COMPOSED, EVALUATION, INITIALIZATION, METRICS, OVERRIDES, STATUS, SUMMARY
from kd_lightning.runs.folder import goes_on, read_summary
from kd_lightning.runs.metrics_rows import checked_rows, read_rows
from kd_lightning.runs.status import FINISHED, read_status
from kd_lightning.runs.summary import Network, Summary
from kd_lightning.runs.values import legible, unquoted
from kd_lightning.system.records import Damaged, sound_record, warn_of_absent, warn_once

VALIDATION = "val"  # before the names of its metrics where they are logged
UNFINISHED, MISSING, DAMAGED = "unfinished", "not begun", "damaged"


@dataclass(frozen=True)
class Run:
    """One run: its name among those it is shown with, its state, what it was given, and what came out.

    `overrides` are strings, as on the command line; `summary` is None where the run has not finished.
    """

    folder: Path
    name: str
    status: str
    overrides: Mapping[str, str]
    summary: Summary | None = None
    error: str | None = None
    seconds: float | None = None

    @property
    def seed(self) -> str:
        """The seed of its summary, else what its command line gave for it, else the one that conf/train.yaml sets."""
        return str(self.summary.seed if self.summary else self.overrides.get("seed", 0))

    def value(self, key: str) -> str:
        """What it was given for a key: on the command line, else by its config; nothing where it is not there."""
        if key in self.overrides:
            return legible(self.overrides[key])
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name, "") if isinstance(value, Mapping) else ""
        return "null" if value is None else legible(str(value))

    @cached_property
    def config(self) -> dict[str, Any]:
        """The values that it was given, as they were written; empty where these are not there."""
        try:
            return stored_values(self.folder) or {}
        except Damaged as error:
            warn_once(f"{error}; of what it was given, the command line alone is shown")
            return {}

    @property
    def networks(self) -> list[Network]:
        """In the order of tables; none where it has not finished."""
        return [] if self.summary is None else self.summary.networks

    def metric(self, network: str | None, name: str) -> float | None:
        """A number of a network; None where the run has none."""
        records: Mapping[str, Any] = {} if self.summary is None else self.summary.records
        value: float | None = (records.get(network or "") or {}).get(name)
        return value

    def is_about(self, network: Network) -> bool:
        return self.summary is not None and self.summary.plan.result == network.name

    def reached(self, name: str) -> float | None:
        """A number of the network that the run is about."""
        return None if self.summary is None else self.metric(self.summary.plan.result, name)

    def compared_with(self, name: str) -> float | None:
        """The same number of the network that it is compared with."""
        return None if self.summary is None else self.metric(self.summary.plan.baseline, name)

    @cached_property
    def compared(self) -> Compared | None:
        """What its networks are compared by; None where it has not finished, or its summary does not tell."""
        return None if self.summary is None else self.summary.compared

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The metrics.csv of the training that the run is about, with epoch and step; empty where there is none."""
        return self.curves_of("")

    def curves_of(self, trained: str) -> pd.DataFrame:
        """The same of what this run trained apart, by the name of its folder."""
        name = f"{trained}/{METRICS}".lstrip("/")
        rows = read_rows(self.folder / name) if self.summary is None else checked_rows(self.folder, name)
        return pd.DataFrame(rows).apply(pd.to_numeric, errors="coerce")

    @property
    def trained_apart(self) -> list[str]:
        """The folders of what this run trained apart: networks by their names, and members of ensembles."""
        found = [path.parent.name for path in self.folder.glob(f"*/{METRICS}")]
        return sorted(name for name in found if name != INITIALIZATION)

    def validated(self, network: str | None = None) -> tuple[pd.DataFrame, str]:
        """The rows that hold what validation measured of a network, and what stands before a metric's name there.

        A network that was trained apart has rows of its own, one of several learners its name before its metrics. For
        None it is the network that the run is about.
        """
        about = None if self.summary is None else self.summary.plan.result
        name = network or about
        of_the_learner = f"{VALIDATION}/{name}/"
        if any(column.startswith(of_the_learner) for column in self.curves.columns):
            return self.curves, of_the_learner
        return (self.curves if name == about else self.curves_of(str(name))), f"{VALIDATION}/"

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """evaluation.npz; empty where there is none, and with a warning where it is damaged."""
        consequence = f"its figures are left out; to make it anew, {goes_on(self.folder)}"
        if self.summary is not None:
            warn_of_absent(self.folder / EVALUATION, consequence)
        return sound_arrays(self.folder / EVALUATION, consequence)

    def arrays_of(self, network: str) -> dict[str, np.ndarray]:
        """Those of one network, by their names without its own."""
        return arrays_of(network, self.arrays)


def read_run(folder: Path, name: str | None = None) -> Run:
    """The run in a folder; raises `UserError` where there is none."""
    if not is_run(folder):
        raise UserError(f"{folder}: holds no run; give a folder that kd-train printed, or a multirun's")
    status = read_status(folder)
    overrides = read_overrides(folder) if status is None else split(status.overrides)
    name = name or folder.resolve().name
    try:
        summary = read_summary(folder)
    except Damaged as error:
        warn_once(str(error))
        return Run(folder, name, DAMAGED, overrides, error=str(error))
    summary = None if summary is None else with_parts(summary)
    if status is None:
        return Run(folder, name, UNFINISHED if summary is None else FINISHED, overrides, summary)
    seconds = None if status.ended is None else max(0.0, status.ended - status.started)
    state = status.status
    if state == FINISHED and summary is None:
        warn_of_absent(folder / SUMMARY, f"the job counts as unfinished; to make it anew, {goes_on(folder)}")
        state = UNFINISHED
    shown = summary if state == FINISHED else None
    return Run(folder, name, state, overrides, shown, status.error, seconds)


def is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (SUMMARY, STATUS, AS_COMPOSED))


def read_overrides(folder: Path) -> dict[str, str]:
    """What the command line gave a run."""
    path, consequence = folder / OVERRIDES, "what the command line gave is not shown"
    warn_of_absent(path, consequence)
    return split(sound_record(path, [str], consequence, yaml.safe_load) or [])


def split(overrides: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE as a dict, without the marks for keys that are added."""
    pairs = (override.lstrip("+").partition("=") for override in overrides)
    return {key: unquoted(value) for key, _, value in pairs if not key.startswith("~")}
