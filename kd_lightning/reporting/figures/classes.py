"""What goes wrong, class by class."""

from typing import Any

import numpy as np

from kd_lightning.reporting.figures.style import COLOURS, SCALE, TITLES, Figure, as_text, axis, figure, panels, subtitle
from kd_lightning.reporting.runs import Run
from kd_lightning.tracking.arrays import ROLES, arrays_of

LABELLED = 40  # classes; of more, names stand in the hover text alone
NUMBERED = 12  # classes; of more, the cells' numbers do
WHOLE = 200  # classes; of more, only the worst of them are shown, or the page would be of tens of megabytes
WORST = 50


def confusions(run: Run) -> Figure | None:
    """The confusion matrices side by side, in per cent of each true class."""
    found = {role: arrays_of(role, run.arrays).get("confusion") for role in ROLES}
    matrices = {role: matrix for role, matrix in found.items() if matrix is not None}
    if not matrices:
        return None
    shown = shown_classes([*matrices.values()][-1])
    names, domains = [class_names(run)[index] for index in shown], panels(len(matrices), gap=0.06)
    data, layout, titles = [], {}, []
    for number, (role, matrix) in enumerate(matrices.items()):
        suffix = "" if number == 0 else str(number + 1)
        data.append(heatmap(matrix, shown, names) | {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
        true = "true" if number == 0 else ""
        layout[f"xaxis{suffix}"] = class_axis("predicted", names, domain=domains[number], anchor=f"y{suffix}")
        layout[f"yaxis{suffix}"] = class_axis(true, names, anchor=f"x{suffix}", autorange="reversed")
        titles.append(subtitle(TITLES[role], sum(domains[number]) / 2))
    scale = {"colorscale": SCALE, "cmin": 0, "cmax": 100, "showscale": False}
    height = 430 if len(matrices) > 1 else 620
    return figure(data, height=height, annotations=titles, coloraxis=scale, **layout)


def heatmap(matrix: np.ndarray, shown: list[int], names: list[str]) -> dict[str, Any]:
    """The shown part of one confusion matrix (C, C)."""
    shares = (100 * matrix / matrix.sum(axis=1, keepdims=True).clip(min=1))[np.ix_(shown, shown)]
    cells = {"type": "heatmap", "x": names, "y": names, "z": np.round(shares, 2).tolist(), "coloraxis": "coloraxis"}
    cells |= {"xgap": 1, "ygap": 1, "customdata": matrix[np.ix_(shown, shown)].tolist()}
    cells["hovertemplate"] = "true %{y}, predicted %{x}<br>%{z:.1f} %, %{customdata} images<extra></extra>"
    if len(names) <= NUMBERED:
        cells |= {"text": labels(shares), "texttemplate": "%{text}", "textfont": {"size": 11}}
    return cells


def class_axis(title: str, names: list[str], **options: Any) -> dict[str, Any]:
    """An axis of classes, with their names where these are not too many."""
    ticks = {"ticks": "", "ticklabelstandoff": 6, "showticklabels": len(names) <= LABELLED, "dtick": 1}
    return axis(title, type="category", showgrid=False, **ticks, **options)


def shown_classes(confusion: np.ndarray) -> list[int]:
    """All classes; of very many the ones with the lowest recall."""
    if len(confusion) <= WHOLE:
        return [*range(len(confusion))]
    worst: list[int] = np.argsort(recall(confusion), kind="stable")[:WORST].tolist()
    return worst


def gain_by_class(run: Run) -> Figure | None:
    """How many points of recall distillation brings each class over the student alone, sorted."""
    ours, theirs = (arrays_of(role, run.arrays).get("confusion") for role in ("student", "scratch"))
    if ours is None or theirs is None:
        return None
    gain = 100 * (recall(ours) - recall(theirs))
    order = np.argsort(-gain, kind="stable")
    names = np.array(class_names(run))[order]
    bars = {
        "type": "bar",
        "x": names.tolist(),
        "y": gain[order].tolist(),
        "customdata": np.stack([100 * recall(theirs)[order], 100 * recall(ours)[order]], axis=1).tolist(),
        "hovertemplate": "%{x}: %{customdata[0]:.1f} % alone, %{customdata[1]:.1f} % distilled<extra></extra>",
        "marker": {"color": [COLOURS["student" if value >= 0 else "scratch"] for value in gain[order]]},
    }
    categories = axis("class", type="category", showticklabels=len(names) <= LABELLED, showgrid=False)
    return figure([bars], height=320, xaxis=categories, yaxis=axis("points of recall", zeroline=True))


def recall(confusion: np.ndarray) -> np.ndarray:
    """The share of each true class that is predicted as such; 0 for one without images."""
    shares: np.ndarray = np.diag(confusion) / confusion.sum(axis=1).clip(min=1)
    return shares


def labels(shares: np.ndarray) -> list[list[str]]:
    """Whole per cents; nothing where it rounds to 0."""
    return [["" if value < 0.5 else f"{value:.0f}" for value in row] for row in shares]


def class_names(run: Run) -> list[str]:
    """As plotly shows them."""
    return [as_text(str(name)) for name in run.arrays["class_names"]]
