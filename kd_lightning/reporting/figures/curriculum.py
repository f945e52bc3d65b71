"""How a curriculum went: its values, and the accuracy on each concept, over the epochs."""

from collections.abc import Iterator, Sequence
from typing import Any

from kd_lightning.reporting.figures.style import (
    BLUE,
    ORANGE,
    SCALE,
    Figure,
    as_text,
    axis,
    epochs,
    figure,
    panels,
)
from kd_lightning.runs.curriculum import Told

ACROSS = 3  # panels side by side
SHARES = {"share": "samples in use", "mastered": "mastered goals"}  # told as parts of a whole
NAMED = 120  # concepts; of more, names stand in the hover text alone
BAR = {"title": {"text": "%"}, "thickness": 12, "lenmode": "pixels", "len": 200, "y": 1, "yanchor": "top"}
TALLEST = 1_600  # pixels of a heat map


def values(told: Told) -> Iterator[Figure]:
    """The share of the samples in use, their difficulty, and whatever else was told of each epoch."""
    names = [*dict.fromkeys(name for one in told.epochs for name in one.values)]
    for first in range(0, len(names), ACROSS):
        yield of_values(told, names[first : first + ACROSS])


def of_values(told: Told, names: Sequence[str]) -> Figure:
    """Some of these, side by side."""
    domains, data, layout = panels(len(names)), [], dict[str, Any]()
    for place, name in enumerate(names):
        axes, scale = "" if place == 0 else str(place + 1), 100 if name in SHARES else 1
        logged = [(one.epoch + 1, value) for one in told.epochs if (value := one.values.get(name)) is not None]
        line = {
            "type": "scatter",
            "mode": "lines" if len(logged) > 1 else "markers",
            "x": [epoch for epoch, _ in logged],
            "y": [scale * value for _, value in logged],
            "line": {"color": BLUE, "width": 2, "shape": "hv"},  # drawn for an epoch as it begins
            "showlegend": False,
            "hovertemplate": "epoch %{x}: %{y:.4g}<extra></extra>",
        }
        data.append(line | {"xaxis": f"x{axes}", "yaxis": f"y{axes}"})
        title = f"{SHARES[name]} %" if name in SHARES else as_text(name)
        layout[f"xaxis{axes}"] = epochs(len(told.epochs), domain=domains[place], anchor=f"y{axes}")
        layout[f"yaxis{axes}"] = axis(title, anchor=f"x{axes}", rangemode="tozero" if name in SHARES else "normal")
    return figure(data, height=260, **layout)


def concepts(told: Told) -> Figure | None:
    """The accuracy on each concept after each epoch as a heat map, with what was taught; None where none was told."""
    if not told.latest:
        return None
    names = told.concepts
    rows = [as_text(name) for name in names]
    accuracy = [[of(one.concepts.get(name)) for one in told.epochs] for name in names]
    taught = [(epoch + 1, as_text(name)) for epoch, name in told.taught]
    cells = {
        "type": "heatmap",
        "x": [one.epoch + 1 for one in told.epochs],
        "y": rows,
        "z": accuracy,
        "coloraxis": "coloraxis",
        "hovertemplate": "%{y}, after epoch %{x}: %{z:.1f} %<extra></extra>",
        "xgap": 1 if len(told.epochs) <= 60 else 0,
        "ygap": 1,
        "hoverongaps": False,
    }
    small = max(3, min(6, 240 / len(told.epochs), 360 / len(names)))
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": [epoch for epoch, _ in taught],
        "y": [name for _, name in taught],
        "marker": {"color": ORANGE, "size": small, "symbol": "square"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    row = max(4.0, min(24.0, TALLEST / len(names)))
    labels = {
        "type": "category",
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
        "ticks": "",
        "ticklabelstandoff": 6,
    }
    labels |= {"showticklabels": len(names) <= NAMED, "dtick": 1, "tickfont": {"size": 12 if len(names) <= 40 else 10}}
    return figure(
        [cells, *([marks] if taught else [])],
        height=round(90 + row * len(names)),
        xaxis=epochs(len(told.epochs), showgrid=False, range=[0.5, len(told.epochs) + 0.5]),
        yaxis=axis("", **labels),
        coloraxis={"colorscale": SCALE, "cmin": 0, "cmax": 100, "colorbar": BAR},
    )


def of(accuracy: float | None) -> float | None:
    return None if accuracy is None else round(100 * accuracy, 2)
