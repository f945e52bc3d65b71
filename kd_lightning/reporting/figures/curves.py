"""Curves over a training."""

from typing import Any, NamedTuple

import pandas as pd

from kd_lightning.columns import NAME, RESERVED, VALIDATED, Column
from kd_lightning.reporting.figures.style import (
    BLUE,
    GREY,
    OTHERS,
    Figure,
    as_text,
    axis,
    colours,
    epochs,
    figure,
    panels,
)
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.run import VALIDATION, Run
from kd_lightning.runs.summary import Role

FURTHER = ("loss", "gradient_norm", "images_per_s", "memory_gib")  # logged while training, beside the terms


def terms(run: Run) -> list[str]:
    """The names of the terms that a run logged."""
    logged = [name.removeprefix("train/") for name in run.curves.columns if name.startswith("train/")]
    return [name for name in logged if f"{name}_weighted" in logged and name not in FURTHER]


def loss_terms(run: Run) -> Figure | None:
    """Each term of the loss as it is, and times its weight as it is added up."""
    names = terms(run)
    if not names:
        return None
    left, right = panels(2)
    data: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        style = {"color": OTHERS[number % len(OTHERS)], "width": 1.75}
        for axes, column in (("", f"train/{name}"), ("2", f"train/{name}_weighted")):
            steps, values = series(run.curves, column)
            line: dict[str, Any] = {
                "type": "scatter",
                "mode": drawn(steps),
                "x": steps,
                "y": values,
                "name": as_text(name),
                "line": style,
            }
            data.append(line | {"xaxis": f"x{axes}", "yaxis": f"y{axes}", "legendgroup": name, "showlegend": not axes})
    steps, values = series(run.curves, "train/loss")
    total = {"type": "scatter", "mode": drawn(steps), "x": steps, "y": values, "name": "total loss", "xaxis": "x2"}
    data.append(total | {"yaxis": "y2", "line": {"color": GREY, "width": 1.25, "dash": "dot"}})
    return figure(
        data,
        xaxis=axis("step", domain=left),
        xaxis2=axis("step", domain=right, anchor="y2"),
        yaxis=axis("raw", rangemode="tozero"),
        yaxis2=axis("weighted", rangemode="tozero", anchor="x2"),
        legend={"orientation": "h", "x": 0, "y": 1.08, "yanchor": "bottom"},
    )


def validation(run: Run) -> Figure | None:
    """What validation measures after each epoch, what selects first: all networks that this run trained."""
    columns = watched(run)
    domains = panels(max(1, len(columns)))
    data: list[dict[str, Any]] = []
    for trained in all_trained(run):
        for place, column in enumerate(columns):
            axes = "" if place == 0 else str(place + 1)
            done, values = by_epoch(trained.rows, f"{trained.before}{column.name}", column.scale)
            line: dict[str, Any] = {
                "type": "scatter",
                "mode": drawn(done),
                "x": done,
                "y": values,
                "name": as_text(trained.title),
            }
            style = {"color": trained.colour, "width": trained.width}
            line |= {"line": style, "legendgroup": trained.name, "showlegend": not axes}
            if done:
                data.append(line | {"xaxis": f"x{axes}", "yaxis": f"y{axes}"})
    if not data:
        return None
    layout: dict[str, Any] = {}
    for place, column in enumerate(columns):
        axes = "" if place == 0 else str(place + 1)
        layout[f"xaxis{axes}"] = epochs(longest(data), domain=domains[place], anchor=f"y{axes}")
        layout[f"yaxis{axes}"] = axis(as_text(column.title), anchor=f"x{axes}")
    return figure(data, **layout, legend={"orientation": "h", "x": 0, "y": 1.08, "yanchor": "bottom"})


WIDTH, MEMBER = 2.0, 1.0  # of lines


class Trained(NamedTuple):
    """A network that a run trained: its rows, what is before a metric in its columns, and its line."""

    name: str
    title: str
    rows: pd.DataFrame
    before: str
    colour: str
    width: float = WIDTH


def all_trained(run: Run) -> list[Trained]:
    """What a run trained, first what it is about, last the members of ensembles; by its names where it goes on yet."""
    if run.summary is None:
        return under_way(run)
    colour, networks = colours(run.networks), sorted(run.networks, key=lambda one: not run.is_about(one))
    found = []
    for one in networks:
        width = MEMBER if one.role is Role.MEMBER else WIDTH
        found.append(Trained(one.name, one.title, *run.validated(one.name), colour[one.name], width))
    of = {name: name.rpartition("_")[0] for name in run.trained_apart if name not in colour}
    return found + [Trained(name, name, run.curves_of(name), BEFORE, colour.get(of[name], GREY), MEMBER) for name in of]


BEFORE = f"{VALIDATION}/"


def under_way(run: Run) -> list[Trained]:
    """The same of a run that has not finished: its learners as they are logged, and the folders in it."""
    learners = dict.fromkeys(name for _, name, _ in (split(name) for name in run.curves.columns) if name)
    parts = [(name, run.curves, f"{BEFORE}{name}/") for name in learners] or [("this training", run.curves, BEFORE)]
    parts += [(name, run.curves_of(name), BEFORE) for name in run.trained_apart]
    return [Trained(part[0], *part, OTHERS[number % len(OTHERS)]) for number, part in enumerate(parts)]


def split(logged: str) -> tuple[str, str, str]:
    """`val/top1` and `val/first/top1` as stage, learner and metric."""
    stage, _, rest = logged.partition("/")
    learner, _, metric = rest.rpartition("/")
    return stage, learner, metric


MOST_PANELS = 4


def watched(run: Run) -> list[Column]:
    """The columns of the validation data that the run's summary holds, what selects first.

    Where there is no summary yet, the names that were logged.
    """
    compared = run.compared
    if compared is None:
        logged = dict.fromkeys(metric for stage, _, metric in map(split, run.curves.columns) if stage == VALIDATION)
        columns = [Column(name, name, ".4g") for name in logged if NAME.fullmatch(name) and name not in RESERVED]
        return columns[:MOST_PANELS]
    found = [one for one in compared.columns if run.summary and f"{one.name}{VALIDATED}" in run.summary.result.record]
    return sorted(found, key=lambda column: column != compared.selects_on)[:MOST_PANELS]


def of_all(runs: Collection) -> Figure | None:
    """What selects, of the network that each run is about after each epoch; what a sweep selected stands out."""
    selected, column = runs.selected, runs.selects_on.column
    hover = ".2f" if column.is_share else ".4g"
    data: list[dict[str, Any]] = []
    for number, configuration in enumerate(runs.configurations):
        chosen = configuration is selected
        few = selected is None and len(runs.configurations) <= len(OTHERS)
        colour = OTHERS[number % len(OTHERS)] if few else BLUE if chosen else GREY
        style = {"color": colour, "width": 2.5 if chosen else 1.25}
        for run in configuration.runs:
            rows, before = run.validated()
            done, values = by_epoch(rows, f"{before}{column.name}", column.scale)
            text = as_text(f"{run.name}: {configuration} seed {run.seed}")
            name = "selected" if chosen else (as_text(str(configuration)) or "all runs") if few else "others"
            line: dict[str, Any] = {
                "type": "scatter",
                "mode": drawn(done),
                "x": done,
                "y": values,
                "line": style,
                "name": name,
            }
            line |= {"opacity": 1.0 if chosen or few else 0.5, "legendgroup": name, "meta": run.name}
            line |= {"hovertemplate": f"{text}<br>epoch %{{x}}: %{{y:{hover}}}<extra></extra>"}
            first = name not in {other["name"] for other in data}
            if done:
                data.append(line | {"showlegend": first})
    if not data:
        return None
    data.sort(key=lambda line: line["name"] == "selected")
    return figure(
        data,
        height=400,
        xaxis=epochs(longest(data)),
        yaxis=axis(as_text(f"validation {column.title}")),
        hovermode="closest",
    )


def series(table: pd.DataFrame, column: str) -> tuple[list[float], list[float]]:
    """Steps and values of a column, where it was logged."""
    if column not in table:
        return [], []
    logged = table[["step", column]].dropna()
    return logged["step"].tolist(), logged[column].tolist()


def drawn(places: list[float]) -> str:
    """Lines; of a single point, which has none, a marker."""
    return "lines" if len(places) > 1 else "markers"


def by_epoch(table: pd.DataFrame, column: str, scale: float) -> tuple[list[float], list[float]]:
    """Epochs, the first of them 1, and values times `scale`."""
    if column not in table:
        return [], []
    logged = table[["epoch", column]].dropna()
    return (logged["epoch"] + 1).tolist(), (scale * logged[column]).tolist()


def longest(lines: list[dict[str, Any]]) -> float:
    """The last epoch of all."""
    last: float = max(line["x"][-1] for line in lines)
    return last
