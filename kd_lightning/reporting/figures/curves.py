"""Curves over a training."""

from typing import Any

import pandas as pd

from kd_lightning.reporting.figures.style import COLOURS, OTHERS, TITLES, Figure, as_text, axis, epochs, figure, panels
from kd_lightning.runs.collection import Collection
from kd_lightning.runs.run import Run, read_curves

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
    data.append(total | {"yaxis": "y2", "line": {"color": COLOURS["teacher"], "width": 1.25, "dash": "dot"}})
    return figure(
        data,
        xaxis=axis("step", domain=left),
        xaxis2=axis("step", domain=right, anchor="y2"),
        yaxis=axis("raw", rangemode="tozero"),
        yaxis2=axis("weighted", rangemode="tozero", anchor="x2"),
        legend={"orientation": "h", "x": 0, "y": 1.08, "yanchor": "bottom"},
    )


def validation(run: Run) -> Figure | None:
    """Accuracy and NLL on the validation data after each epoch: the student, and those trained in the same run."""
    curves = {"student": run.curves} | {role: read_curves(run.folder / role) for role in ("teacher", "scratch")}
    left, right = panels(2)
    data: list[dict[str, Any]] = []
    for role, table in curves.items():
        for axes, column, scale in (("", "val/top1", 100.0), ("2", "val/nll", 1.0)):
            done, values = by_epoch(table, column, scale)
            line: dict[str, Any] = {
                "type": "scatter",
                "mode": drawn(done),
                "x": done,
                "y": values,
                "name": TITLES[role],
            }
            line |= {"line": {"color": COLOURS[role], "width": 2}, "legendgroup": role, "showlegend": not axes}
            if done:
                data.append(line | {"xaxis": f"x{axes}", "yaxis": f"y{axes}"})
    if not data:
        return None
    return figure(
        data,
        xaxis=epochs(longest(data), domain=left),
        xaxis2=epochs(longest(data), domain=right, anchor="y2"),
        yaxis=axis("top-1 %"),
        yaxis2=axis("NLL", anchor="x2"),
        legend={"orientation": "h", "x": 0, "y": 1.08, "yanchor": "bottom"},
    )


def of_all(runs: Collection) -> Figure | None:
    """Validation accuracy of each run's student after each epoch; what a sweep selected stands out."""
    selected = runs.selected
    data: list[dict[str, Any]] = []
    for number, configuration in enumerate(runs.configurations):
        chosen = configuration is selected
        few = selected is None and len(runs.configurations) <= len(OTHERS)
        colour = OTHERS[number % len(OTHERS)] if few else COLOURS["student" if chosen else "teacher"]
        style = {"color": colour, "width": 2.5 if chosen else 1.25}
        for run in configuration.runs:
            done, values = by_epoch(run.curves, "val/top1", 100.0)
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
            line |= {"hovertemplate": f"{text}<br>epoch %{{x}}: %{{y:.2f}} %<extra></extra>"}
            first = name not in {other["name"] for other in data}
            if done:
                data.append(line | {"showlegend": first})
    if not data:
        return None
    data.sort(key=lambda line: line["name"] == "selected")
    return figure(data, height=400, xaxis=epochs(longest(data)), yaxis=axis("validation top-1 %"), hovermode="closest")


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
