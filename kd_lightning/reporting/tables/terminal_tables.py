"""The comparison of a run's networks, in the terminal."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kd_lightning.reporting.figures.style import TITLES
from kd_lightning.runs.caution import part, teacher_warning, with_parts


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("model", "model", str),
    ("validation images", "part_validation", str),
    ("validation top-1 %", "top1_validation", percent),
    ("test images", "part", str),
    ("top-1 %", "top1", percent),
    ("top-5 %", "top5", percent),
    ("precision %", "precision", percent),
    ("recall %", "recall", percent),
    ("F1 %", "f1", percent),
    ("NLL", "nll", "{:.3f}".format),
    ("calibration error %", "ece", percent),
    ("agreement with teacher %", "agreement", percent),
    ("parameters", "params", "{:,}".format),
    ("MFLOPs", "flops", lambda flops: f"{flops / 1e6:,.2f}"),
    ("latency, one image, ms", "latency_ms", "{:.2f}".format),
    ("  interquartile range", "latency_iqr_ms", "{:.2f}".format),
)


def comparison(summary: Mapping[str, Any]) -> Table:
    """The three networks of a run's summary side by side."""
    distilled = "student" if summary["teacher"] is None else "distilled student"
    titles = TITLES | {"student": distilled}
    measured = with_parts(dict(summary))
    networks = {titles[role]: measured[role] for role in titles if measured[role] is not None}
    table = metrics_table(networks)
    table.title, table.title_justify = f"{summary['data']['name']}, seed {summary['seed']}", "left"
    table.columns[-1].style = "bold"
    return table


def metrics_table(networks: Mapping[str, Mapping[str, Any]]) -> Table:
    """A column for each network, a row for each metric that one of them has."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for title in networks:
        table.add_column(title, justify="right", overflow="fold")
    for label, metric, text in ROWS:
        values = [network.get(metric) for network in networks.values()]
        if any(value is not None for value in values):
            table.add_row(label, *("" if value is None else text(value) for value in values))
    return table


VALIDATED_TESTED = (("_validation", "val"), ("", "test"))


def caption(summary: Mapping[str, Any]) -> str:
    """What the distillation brought, and which weights were tested."""
    student, scratch, data = summary["student"], summary["scratch"], summary["data"]
    validated, images = (part(student, data, end) or f"{data['images'][split]:,}" for end, split in VALIDATED_TESTED)
    tested = f"Best epoch by {validated} validation images"
    if data["selected_checkpoint"] == "last":
        tested = "Last epoch" + ("; validated on the test set" if data["validates_on"] == "test" else "")
    lines = [f"{tested}; {data['images']['train']:,} training and {images} test images."]
    measured, name = ("top1", "top-1") if data["tested"] else ("top1_validation", "validation top-1")
    if not data["tested"]:
        lines.append("The distilled student was not tested.")
    if scratch is not None and student[measured] is not None and scratch.get(measured) is not None:
        lines.insert(0, f"Distillation: {100 * (student[measured] - scratch[measured]):+.2f} points of {name}.")
    if (warning := teacher_warning(summary)) is not None:
        lines.append(warning)
    return "\n".join(lines)
