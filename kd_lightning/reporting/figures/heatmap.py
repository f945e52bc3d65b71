"""What the page's heat map is drawn from: the configurations, each with its mean over seeds."""

from typing import Any

from kd_lightning.runs.collections.collection import Collection, Configuration
from kd_lightning.runs.status import FINISHED, rounded
from kd_lightning.runs.values import in_order

FIRST = ("temperature", "alpha")


def heat_map(runs: Collection) -> dict[str, Any] | None:
    """Parameters with their values, most of them first, and configurations; None where there is nothing to draw.

    Temperature and alpha come first wherever both vary.
    """
    if not runs.keys or not runs.measured:
        return None
    values = {key: in_order([one.choices[key] for one in runs.configurations]) for key in runs.keys}
    named = [key for key in FIRST if key in values] if all(key in values for key in FIRST) else []
    keys = sorted(values, key=lambda key: (key not in named, -len(values[key])))
    return {
        "measure": runs.selects_on.title,
        "sign": runs.selects_on.column.sign,
        "parameters": [{"key": key, "values": values[key], "labels": [*map(rounded, values[key])]} for key in keys],
        "configurations": [cell(one, runs) for one in runs.configurations],
    }


def cell(configuration: Configuration, runs: Collection) -> dict[str, Any]:
    """A configuration's mean and standard deviation as they are shown, of how many seeds; or why there is none."""
    column = runs.selects_on.column
    found = configuration.spread(runs.selects_on.name)
    mean, deviation = (None, None) if found is None else (found.mean, found.deviation)
    states = dict.fromkeys(run.status for run in configuration.runs if run.status != FINISHED)
    return {
        "choices": configuration.choices,
        "mean": None if mean is None else column.scale * mean,
        "deviation": None if deviation is None else column.scale * deviation,
        "texts": [None if value is None else column.text(value) for value in (mean, deviation)],
        "n": 0 if found is None else found.n,
        "of": len(configuration.seeds),
        "missing": ", ".join(states),
        "selected": configuration is runs.selected,
    }
