"""Runs on several data sets, divided by these: their accuracies are not comparable."""

from collections.abc import Sequence
from dataclasses import replace

from kd_lightning.runs.collection import Collection
from kd_lightning.runs.run import Run

OTHERS = "data not known"


def by_data(runs: Collection) -> list[Collection]:
    """A collection for each data set, titled by its name, in the order of their first runs; one where there is one.

    Data are the same that have one name and the same classes. What has not finished goes to what was given the same.
    """
    known = {run.folder: data for run in runs.runs if (data := data_of(run)) is not None}
    names = titles([*dict.fromkeys(known.values())])
    if len(names) < 2:
        return [runs]
    by_choice = {run.value("data"): known[run.folder] for run in runs.runs if run.folder in known}
    found: dict[str, list[Run]] = {name: [] for name in names.values()}
    for run in runs.runs:
        data = known.get(run.folder) or by_choice.get(run.value("data"))
        found.setdefault(OTHERS if data is None else names[data], []).append(run)
    return [replace(runs, title=name, runs=part, jobs=None) for name, part in found.items() if part]


def data_of(run: Run) -> tuple[str, ...] | None:
    """A finished run's data set: its name, and its classes."""
    data = (run.summary or {}).get("data")
    return None if data is None else (data["name"], *map(str, data.get("classes") or [data.get("num_classes")]))


def titles(data: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A title for each data set: its name, and where several have the same the number of classes or a count."""
    found: dict[tuple[str, ...], str] = {}
    for key in data:
        name, *classes = key
        same = [other for other in data if other[0] == name]
        title = name if len(same) == 1 else f"{name} of {len(classes)} classes"
        taken = sum(other.startswith(title) for other in found.values())
        found[key] = title if not taken else f"{title} ({taken + 1})"
    return found
