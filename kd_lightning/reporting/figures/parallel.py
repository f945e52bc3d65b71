"""All runs of a sweep as lines across their parameters.

Drawn as plain lines: plotly's own parallel coordinates need WebGL, which not every browser has.
"""

import math
from collections.abc import Sequence
from typing import Any

from kd_lightning.reporting.figures.style import LOW_TO_HIGH, Figure, as_text, figure, mixed, subtitle
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.run import Run
from kd_lightning.runs.values import in_order, numbers

BAND = 0.5  # of the room between two values: lines through the same value fan out in it, the best on top
FEW = 12  # labels of an axis; more numbers stand on a linear one


def parallel_coordinates(runs: Collection) -> Figure | None:
    """A line for each finished run, through what it was given to what it reached."""
    column = runs.selects_on.column
    measured = sorted(runs.measured, key=lambda pair: column.sign * pair[1])
    if len(measured) < 2 or not runs.keys:
        return None
    reached = [value for _, value in measured]
    lowest, span = min(reached), (max(reached) - min(reached)) or 1.0
    heights, decoration = [], []
    given = {key: [run.value(key) for run, _ in measured] for key in runs.keys}
    given["seed"] = [run.seed for run, _ in measured]
    dimensions = {key: values for key, values in given.items() if len(set(values)) > 1}
    for place, (key, values) in enumerate(dimensions.items()):
        places, ticks = positions(values)
        heights.append(places)
        decoration += labels(place, key, ticks)
    ends = [(value - lowest) / span for value in reached]
    levels = {column.text(lowest + i * span / 4): i / 4 for i in range(5)}
    decoration += labels(len(dimensions), runs.selects_on.title, levels, right=True)
    heights.append(ends)
    shades = [end if column.higher_is_better else 1 - end for end in ends]
    lines = [
        line(run, [axis[index] for axis in heights], mixed(LOW_TO_HIGH, shades[index]), hover_text(runs, run))
        for index, (run, _) in enumerate(measured)
    ]
    count = len(heights)
    shown = {"visible": False, "fixedrange": True}
    return figure(
        lines,
        height=360,
        showlegend=False,
        hovermode="closest",
        xaxis={**shown, "range": [-0.25, count - 0.75]},
        yaxis={**shown, "range": [-0.06, 1.06]},
        shapes=[{"type": "line", "x0": i, "x1": i, "y0": -0.02, "y1": 1.02, "line": AXIS} for i in range(count)],
        annotations=decoration,
        margin={"l": 10, "r": 10, "t": 36, "b": 10},
    )


AXIS = {"width": 1, "color": "#8b929c"}


def line(run: Run, heights: Sequence[float], colour: str, text: str) -> dict[str, Any]:
    """One run; `meta` names it to the page's filter."""
    drawn: dict[str, Any] = {"type": "scatter", "x": [*range(len(heights))], "y": [*heights], "meta": run.name}
    drawn |= {"mode": "lines+markers", "line": {"color": colour, "width": 1.75}, "marker": {"size": 5}, "opacity": 0.85}
    return drawn | {"hovertemplate": f"{text}<extra></extra>"}


def hover_text(runs: Collection, run: Run) -> str:
    given = "<br>".join(as_text(f"{key}={value}") for key, value in runs.choices(run).items())
    measure = runs.selects_on
    reached = measure.column.text(run.reached(measure.name) or 0.0)
    return f"run {as_text(run.name)}, seed {run.seed}<br>{given}<br>{as_text(measure.title)}: {reached}"


def positions(values: list[str]) -> tuple[list[float], dict[str, float]]:
    """Where each run crosses an axis, from 0 to 1, and where its ticks are; the runs come in order, the worst first."""
    distinct = in_order(values)
    found = numbers(distinct)
    if found is not None and len(distinct) > FEW:
        low, span = found[0], found[-1] - found[0]
        ticks = {f"{low + i * span / 4:.4g}": i / 4 for i in range(5)}
        return [(float(value) - low) / span for value in values], ticks
    room = 1 / len(distinct)
    ticks = {value: (index + 0.5) * room for index, value in enumerate(distinct)}
    places = [ticks[value] + room * BAND * fan(values, index) for index, value in enumerate(values)]
    return places, dict([*ticks.items()][:: math.ceil(len(ticks) / FEW)])  # further labels would lie over one another


def fan(values: list[str], index: int) -> float:
    """The place of a run among those of the same value, from -0.5 to 0.5."""
    same = [other for other, value in enumerate(values) if value == values[index]]
    return 0.0 if len(same) == 1 else same.index(index) / (len(same) - 1) - 0.5


def labels(place: int, title: str, ticks: dict[str, float], right: bool = False) -> list[dict[str, Any]]:
    """An axis' title above it and its ticks beside it."""
    side = {"xanchor": "left", "xshift": 8} if right else {"xanchor": "right", "xshift": -8}
    found = [{"x": place, "y": y, "text": as_text(text), "showarrow": False, **side} for text, y in ticks.items()]
    return [subtitle(f"<b>{as_text(title)}</b>", 0) | {"x": place, "xref": "x", "yshift": 6}, *found]
