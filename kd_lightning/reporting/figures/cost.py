"""What a result costs."""

from typing import Any

from kd_lightning.columns import Measure
from kd_lightning.reporting.figures.style import COLOURS, TITLES, Figure, as_text, axis, figure, logarithmic, panels
from kd_lightning.runs.run import Run
from kd_lightning.tracking.arrays import ROLES

COSTS = {"params": "parameters", "flops": "FLOPs of one image", "latency_ms": "latency of one image, ms"}


def result_over_cost(run: Run, measure: Measure) -> Figure | None:
    """What was reached over parameters and operations, on logarithmic scales, and over time."""
    column = measure.column
    measured = [role for role in ROLES if run.metric(role, measure.name) is not None]
    if len(measured) < 2:
        return None
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    for number, (cost, title) in enumerate(COSTS.items()):
        suffix = "" if number == 0 else str(number + 1)
        domain = panels(3)[number]
        for role in measured:
            point: dict[str, Any] = {
                "type": "scatter",
                "mode": "markers",
                "x": [run.metric(role, cost)],
                "name": TITLES[role],
            }
            point |= {
                "y": [column.scale * (run.metric(role, measure.name) or 0.0)],
                "marker": {"size": 12, "color": COLOURS[role]},
            }
            place = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "legendgroup": role, "showlegend": number == 0}
            reached = column.with_unit(run.metric(role, measure.name) or 0.0)
            hover = f"{TITLES[role]}: {reached}, {title} %{{x:,.4g}}<extra></extra>"
            data.append(point | place | {"hovertemplate": hover})
        values = [value for role in measured if (value := run.metric(role, cost))]
        layout[f"xaxis{suffix}"] = axis(title, domain=domain, anchor=f"y{suffix}", **scale(cost, values))
        layout[f"yaxis{suffix}"] = axis(as_text(column.title) if number == 0 else "", anchor=f"x{suffix}", matches="y")
    layout["yaxis"].pop("matches")
    return figure(data, **layout)


def scale(cost: str, values: list[float]) -> dict[str, Any]:
    """From zero for the time; else logarithmic."""
    return {"rangemode": "tozero"} if cost == "latency_ms" else logarithmic(values)
