"""Runs on several data sets, or of several tasks, divided by these: their results are not comparable."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.run import Run

OTHERS = "data not known"


def by_data(runs: Collection) -> list[Collection]:
    """A collection for each data set and task, titled by these, in the order of their first runs; one of one.

    Data are the same that have one name and the same classes; a task is the same that selects on the same column.
    What has not finished goes to what was given the same.
    """
    known = {run.folder: data for run in runs.runs if (data := data_of(run)) is not None}
    names = titles([*dict.fromkeys(known.values())])
    if len(names) < 2:
        return [runs]
    by_choice = {given(run): known[run.folder] for run in runs.runs if run.folder in known}
    found: dict[str, list[Run]] = {name: [] for name in names.values()}
    for run in runs.runs:
        data = known.get(run.folder) or by_choice.get(given(run))
        found.setdefault(OTHERS if data is None else names[data], []).append(run)
    return [replace(runs, title=name, runs=part, jobs=None) for name, part in found.items() if part]


def given(run: Run) -> tuple[str, str]:
    """What a run was given as its data and its task."""
    return run.value("data"), run.value("task")


class Kind(NamedTuple):
    """What makes results comparable: the data's name, their classes, and the task with what it selects on."""

    name: str
    classes: tuple[str, ...]
    task: str


def data_of(run: Run) -> Kind | None:
    """A finished run's data set and task."""
    if run.summary is None:
        return None
    data, compared = run.summary.data, run.compared
    task = "" if compared is None else f"{compared.task}, {compared.selects_on.label}"
    return Kind(data["name"], tuple(map(str, data.get("classes") or ())), task)


def titles(kinds: Sequence[Kind]) -> dict[Kind, str]:
    """A title for each: the data's name, and where several have the same the number of classes, the task, a count."""
    found: dict[Kind, str] = {}
    for key in kinds:
        same = [other for other in kinds if other.name == key.name]
        title = key.name
        if any(other.classes != key.classes for other in same):
            title += f" of {len(key.classes)} classes"
        if any(other.task != key.task for other in same):
            title += f", {key.task}"
        taken = sum(other.startswith(title) for other in found.values())
        found[key] = title if not taken else f"{title} ({taken + 1})"
    return found
