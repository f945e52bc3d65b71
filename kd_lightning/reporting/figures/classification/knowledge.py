"""What the teacher says beyond the label."""

from typing import Any

import numpy as np

from kd_lightning.reporting.figures.classification.classes import class_names
from kd_lightning.reporting.figures.style import COLOURS, TITLES, Figure, axis, figure, panels
from kd_lightning.runs.run import Run
from kd_lightning.tracking.arrays import ROLES, arrays_of

PAIRS = 12


def beyond_the_label(run: Run) -> Figure | None:
    """The wrong classes to which the teacher gives most, and entropies over the temperature."""
    pairs = arrays_of("teacher", run.arrays).get("soft_labels")
    if pairs is None:
        return None
    left, right = panels(2, gap=0.12)
    names = class_names(run)
    ticks = arrays_of("teacher", run.arrays)["entropy"][:, 0].tolist()
    most = float(np.log(len(names)))
    limit = {"type": "line", "xref": "x2 domain", "x0": 0, "x1": 1, "yref": "y2", "y0": most, "y1": most}
    return figure(
        [confused_classes(pairs[:PAIRS], names), *entropies(run)],
        height=400,
        xaxis=axis("% of the probability, mean over the true class's images", domain=left),
        yaxis=axis("", autorange="reversed", type="category", showgrid=False, ticksuffix="  "),
        xaxis2=axis(
            "temperature", domain=right, anchor="y2", type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks]
        ),
        yaxis2=axis("entropy, nats", anchor="x2", range=[0, 1.08 * most]),
        shapes=[limit | {"line": {"dash": "dot", "width": 1.5, "color": COLOURS["teacher"]}}],
        legend={"orientation": "h", "x": right[0], "y": 1.02, "yanchor": "bottom"},
    )


def confused_classes(pairs: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Bars of the mean probability that the teacher gives to a wrong class; pairs (P, 3): true, other, probability."""
    return {
        "type": "bar",
        "orientation": "h",
        "x": [100 * float(mean) for _, _, mean in pairs],
        "y": [f"{names[int(true)]} → {names[int(other)]}" for true, other, _ in pairs],
        "marker": {"color": COLOURS["student"]},
        "hovertemplate": "%{y}: %{x:.2f} % of the probability<extra></extra>",
        "showlegend": False,
    }


def entropies(run: Run) -> list[dict[str, Any]]:
    """A line for each network: the mean entropy of its answers over the temperature."""
    lines = []
    for role in ROLES:
        entropy = arrays_of(role, run.arrays).get("entropy")
        if entropy is not None:
            temperatures, nats = entropy.T.tolist()
            line = {"type": "scatter", "mode": "lines+markers", "x": temperatures, "y": nats}
            line |= {"name": TITLES[role], "line": {"color": COLOURS[role], "width": 2}, "xaxis": "x2", "yaxis": "y2"}
            lines.append(line | {"hovertemplate": "temperature %{x}: %{y:.3f} nats<extra></extra>"})
    return lines
