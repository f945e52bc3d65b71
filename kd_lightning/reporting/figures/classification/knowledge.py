"""What the teacher says beyond the label."""

from typing import Any

import numpy as np

from kd_lightning.reporting.figures.classification.classes import class_names
from kd_lightning.reporting.figures.style import BLUE, GREY, Figure, as_text, axis, colours, figure, panels
from kd_lightning.runs.run import Run
from kd_lightning.runs.summary import Role

PAIRS = 12


def beyond_the_label(run: Run) -> Figure | None:
    """The wrong classes to which the teacher gives most, and entropies over the temperature."""
    teachers = [] if run.summary is None else run.summary.of(Role.TEACHER)
    found = next((one for teacher in teachers if "soft_labels" in (one := run.arrays_of(teacher.name))), None)
    if found is None:
        return None
    pairs = found["soft_labels"]
    left, right = panels(2, gap=0.12)
    names = class_names(run)
    ticks = found["entropy"][:, 0].tolist()
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
        shapes=[limit | {"line": {"dash": "dot", "width": 1.5, "color": GREY}}],
        legend={"orientation": "h", "x": right[0], "y": 1.02, "yanchor": "bottom"},
    )


def confused_classes(pairs: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Bars of the mean probability that the teacher gives to a wrong class; pairs (P, 3): true, other, probability."""
    return {
        "type": "bar",
        "orientation": "h",
        "x": [100 * float(mean) for _, _, mean in pairs],
        "y": [f"{names[int(true)]} → {names[int(other)]}" for true, other, _ in pairs],
        "marker": {"color": BLUE},
        "hovertemplate": "%{y}: %{x:.2f} % of the probability<extra></extra>",
        "showlegend": False,
    }


def entropies(run: Run) -> list[dict[str, Any]]:
    """A line for each network: the mean entropy of its answers over the temperature."""
    lines = []
    colour = colours(run.networks)
    for network in run.networks:
        entropy = run.arrays_of(network.name).get("entropy")
        if entropy is not None:
            temperatures, nats = entropy.T.tolist()
            line = {"type": "scatter", "mode": "lines+markers", "x": temperatures, "y": nats}
            style = {"color": colour[network.name], "width": 2}
            line |= {"name": as_text(network.title), "line": style, "xaxis": "x2", "yaxis": "y2"}
            lines.append(line | {"hovertemplate": "temperature %{x}: %{y:.3f} nats<extra></extra>"})
    return lines
