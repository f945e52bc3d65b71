"""figures.json: what a task drew as its run ended, in plain values, read as if somebody else had written it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kd_lightning.reporting.figures.style import Figure, as_text, figure
from kd_lightning.runs.files import FIGURES
from kd_lightning.system.files import finite, write_json
from kd_lightning.system.records import Each, sound_record
from kd_lightning.terminal import warn

SHAPE = Each({"data": [Each(object)], "layout": Each(object)})
# Traces that load nothing from elsewhere.
TRACES = (
    *("scatter", "scattergl", "bar", "heatmap", "histogram", "histogram2d", "box", "violin", "contour", "pie"),
    *("scatterpolar", "barpolar", "funnel", "waterfall", "sunburst", "treemap", "icicle", "table", "sankey"),
)
LEFT_OUT = ("images", "mapbox", "map", "geo", "template", "updatemenus", "sliders", "source")  # of a layout or a trace
INTERPRETED = re.compile(r"[&<>$]")


def write_figures(folder: Path, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep figures by title in a run's folder. What is none, or of other values than JSON has, is left out and told."""
    kept = {}
    for title, made in figures.items():
        try:
            plain = json.loads(json.dumps(finite(dict(made)), default=as_plain))
            kept[str(title)] = {"data": [*plain["data"]], "layout": dict(plain.get("layout") or {})}
        except (TypeError, ValueError, KeyError) as error:
            warn(f"the figure {title}: is left out, for it has no data and layout in plain values ({error})")
    if kept or (folder / FIGURES).exists():
        write_json(folder / FIGURES, kept)


def as_plain(value: Any) -> Any:
    """Arrays and numbers of numpy and torch as JSON has them. Raises TypeError for anything else."""
    if isinstance(value, np.generic) or hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain value")


def read_figures(folder: Path) -> dict[str, Figure]:
    """The figures in a run's folder by title: no more than drawings of known kinds, whose text is text."""
    found = sound_record(folder / FIGURES, SHAPE, "its figures are left out") or {}
    return {title: figure(safe_traces(made["data"]), **safe(made["layout"])) for title, made in found.items()}


def safe_traces(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [safe(trace) for trace in traces if trace.get("type", "scatter") in TRACES]


def safe(value: Any, key: str = "") -> Any:
    """A part of a figure: nothing is loaded from elsewhere, and no text is read as tags, entities or formulas.

    What is a template or a format stays one.
    """
    if isinstance(value, dict):
        return {name: safe(inner, name) for name, inner in value.items() if name not in LEFT_OUT}
    if isinstance(value, list):
        return [safe(inner, key) for inner in value]
    if not isinstance(value, str):
        return value
    if key.endswith(("template", "format")):
        return INTERPRETED.sub(lambda found: f"&#{ord(found[0])};", value)
    return as_text(value)
