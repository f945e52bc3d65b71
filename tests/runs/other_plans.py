"""Folders of real runs as those of other plans would be: their networks renamed, with curves and arrays."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd_lightning.runs.arrays import arrays_of, read_arrays, write_evaluation
from kd_lightning.runs.folder import read_summary, write_summary
from kd_lightning.runs.metrics_rows import Row, columns_of, read_rows, text_of, write_checksums
from kd_lightning.runs.summary import Part, PlanRecord, Role, Summary

BEFORE = ("teacher", "scratch", "student")


@dataclass(frozen=True)
class OtherPlan:
    """What each network of a run of distillation becomes; `learners` were trained together, in the run itself."""

    name: str
    parts: Mapping[str, tuple[str, Part]]  # by the new name: that before, and its part
    result: str
    baseline: str | None = None
    learners: tuple[str, ...] = ()


MUTUAL = OtherPlan(
    "mutual",
    {
        "first": ("student", Part("first student", Role.STUDENT)),
        "second": ("scratch", Part("second student", Role.STUDENT)),
    },
    "first",
    learners=("first", "second"),
)
CHAIN = OtherPlan(
    "assistants",
    {
        "big": ("teacher", Part("teacher", Role.TEACHER)),
        "between": ("scratch", Part("first assistant", Role.ASSISTANT)),
        "below": ("scratch", Part("second assistant", Role.ASSISTANT)),
        "alone": ("scratch", Part("student alone", Role.BASELINE)),
        "small": ("student", Part("student of the <second> assistant", Role.STUDENT)),
    },
    "small",
    "alone",
)
ALONE = OtherPlan("alone", {"net": ("student", Part("network", Role.BASELINE))}, "net")
PLANS = {plan.name: plan for plan in (MUTUAL, CHAIN, ALONE)}


def replanned(folder: Path, plan: OtherPlan) -> Summary:
    """Make a finished run's folder one of the plan's; returns its summary."""
    before = read_summary(folder)
    assert before is not None
    arrays, rows = read_arrays(folder / "evaluation.npz"), read_rows(folder / "metrics.csv")
    apart = {name: read_rows(folder / name / "metrics.csv") for name in BEFORE}
    for name in BEFORE:
        shutil.rmtree(folder / name, ignore_errors=True)
    records, named = {}, {}
    for name, (old, _) in plan.parts.items():
        record = before.records[old]
        assert record is not None
        records[name], named[name] = dict(record), arrays_of(old, arrays)
        if name not in (plan.result, *plan.learners) and apart[old]:
            (folder / name).mkdir()
            write_rows(folder / name, apart[old])
    if plan.learners:
        rows = [learned(row, first, plan) for row, first in together(rows, apart["scratch"])]
        write_rows(folder, rows)
    networks = {name: part for name, (_, part) in plan.parts.items()}
    after = Summary(
        before.data, before.seed, PlanRecord(plan.name, plan.result, plan.baseline, networks), records,
        before.objective, before.time, before.memory,
    )  # fmt: skip
    write_evaluation(folder, {"class_names": arrays["class_names"]}, named)
    write_checksums(folder)
    write_summary(folder, after)
    return after


def together(rows: list[Row], others: list[Row]) -> list[tuple[Row, Row]]:
    """The rows of two trainings side by side, those of validation by their epoch."""
    of_epoch = {row["epoch"]: row for row in others if row.get("val/top1")}
    return [(row, of_epoch.get(row["epoch"], {}) if row.get("val/top1") else {}) for row in rows]


def learned(row: Row, other: Row, plan: OtherPlan) -> Row:
    """A row of two learners, whose names stand within those of their metrics."""
    found = {name: value for name, value in row.items() if not name.startswith("val/")}
    for learner, of in zip(plan.learners, (row, other), strict=True):
        found |= {name.replace("val/", f"val/{learner}/"): of[name] for name in of if name.startswith("val/")}
    return found


def write_rows(folder: Path, rows: list[Row]) -> None:
    (folder / "metrics.csv").write_text(text_of(rows, columns_of(rows), header=True))


def replanned_sweep(folder: Path, plan: OtherPlan) -> Path:
    """All jobs of a finished sweep's folder; what of the jobs is of distillation goes."""
    for status in folder.glob("*/status.json"):
        replanned(status.parent, plan)
        assert np.isfinite(json.loads(status.read_text())["validation"])
    return folder
