"""What a result costs."""

from typing import Any

from kd_lightning.columns import Measure
from kd_lightning.reporting.figures.style import Figure, as_text, axis, colours, figure, logarithmic, panels
from kd_lightning.runs.run import Run

COSTS = {"params": "parameters", "flops": "FLOPs of one image", "latency_ms": "latency of one image, ms"}


def result_over_cost(run: Run, measure: Measure) -> Figure | None:
    """What was reached over parameters and operations, on logarithmic scales, and over time."""
    column = measure.column
    measured = [one for one in run.networks if one.record.get(measure.name) is not None]
    if len(measured) < 2:
        return None
    colour = colours(run.networks)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    for number, (cost, title) in enumerate(COSTS.items()):
        suffix = "" if number == 0 else str(number + 1)
        domain = panels(3)[number]
        for network in measured:
            reached, spent = network.record[measure.name], network.record.get(cost)
            point: dict[str, Any] = {
                "type": "scatter",
                "mode": "markers",
                "x": [spent],
                "name": as_text(network.title),
            }
            point |= {
                "y": [column.scale * reached],
                "marker": {"size": 12, "color": colour[network.name]},
            }
            place = {
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "legendgroup": network.name,
                "showlegend": number == 0,
            }
            told = f"{as_text(network.title)}: {column.with_unit(reached)}"
            hover = f"{told}, {title} %{{x:,.4g}}<extra></extra>"
            data.append(point | place | {"hovertemplate": hover})
        values = [value for network in measured if (value := network.record.get(cost))]
        layout[f"xaxis{suffix}"] = axis(title, domain=domain, anchor=f"y{suffix}", **scale(cost, values))
        layout[f"yaxis{suffix}"] = axis(as_text(column.title) if number == 0 else "", anchor=f"x{suffix}", matches="y")
    layout["yaxis"].pop("matches")
    return figure(data, **layout)


def scale(cost: str, values: list[float]) -> dict[str, Any]:
    """From zero for the time; else logarithmic."""
    return {"rangemode": "tozero"} if cost == "latency_ms" else logarithmic(values)
