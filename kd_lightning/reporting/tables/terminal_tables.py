"""The comparison of a run's networks, in the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from kd_lightning.columns import VALIDATED, Compared, Measure
from kd_lightning.runs.caution import part, teacher_warnings, with_parts
from kd_lightning.runs.summary import Role, Summary

Row = tuple[str, str, Callable[[Any], str]]  # a label, the name in a record, and how it is written
COST: tuple[Row, ...] = (
    ("parameters", "params", "{:,}".format),
    ("MFLOPs", "flops", lambda flops: f"{flops / 1e6:,.2f}"),
    ("latency, one image, ms", "latency_ms", "{:.2f}".format),
    ("  interquartile range", "latency_iqr_ms", "{:.2f}".format),
)


def rows_of(compared: Compared | None, tested: str = "") -> list[Row]:
    """The rows of a comparison; `tested` stands before a test metric that validation data have too."""
    measures = [] if compared is None else compared.measures()
    validated = [one for one in measures if one.validated]
    both = {one.column.name for one in validated}
    columns = [] if compared is None else compared.columns
    return [
        ("model", "model", str),
        ("validation images", f"part{VALIDATED}", str),
        *((one.title, one.name, one.column.text) for one in validated),
        ("test images", "part", str),
        *((f"{tested if one.name in both else ''}{one.title}", one.name, one.text) for one in columns),
        *COST,
    ]


def comparison(summary: Summary) -> Table:
    """The networks of a run's summary side by side, in bold the one that it is about."""
    networks = with_parts(summary).networks
    table = metrics_table([(one.title, one.record) for one in networks], summary.compared)
    table.title, table.title_justify = f"{summary.data['name']}, seed {summary.seed}", "left"
    table.columns[1 + [one.name for one in networks].index(summary.plan.result)].style = "bold"
    return table


def metrics_table(networks: Sequence[tuple[str, Mapping[str, Any]]], compared: Compared | None) -> Table:
    """A column for each network by its title, a row for each metric that one of them has."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for title, _ in networks:
        table.add_column(title, justify="right", overflow="fold")
    for label, metric, text in rows_of(compared):
        values = [network.get(metric) for _, network in networks]
        if any(value is not None for value in values):
            table.add_row(label, *("" if value is None else text(value) for value in values))
    return table


VALIDATED_TESTED = ((VALIDATED, "val"), ("", "test"))
NOT_TOLD = "Its summary does not tell what it is compared by, as one of an earlier version: no metric is shown."


def caption(summary: Summary) -> str:
    """What the distillation brought, and which weights were tested."""
    result, data = summary.result, summary.data
    validated, held_out = (part(result.record, data, end) or samples(data, split) for end, split in VALIDATED_TESTED)
    noun = "images" if "input_shape" in data else "samples"
    tested = f"Best epoch by {validated} validation {noun}"
    if data["selected_checkpoint"] == "last":
        tested = "Last epoch" + ("; validated on the test set" if data["validates_on"] == "test" else "")
    lines = [f"{tested}; {samples(data, 'train')} training and {held_out} test {noun}."]
    if not data["tested"]:
        lines.append(f"The {result.title} was not tested.")
    if (compared := summary.compared) is None:
        return "\n".join([*lines, NOT_TOLD])
    measure = compared.test if data["tested"] else compared.validation
    return "\n".join([*gained(summary, measure), *lines, *teacher_warnings(summary)])


def gained(summary: Summary, measure: Measure) -> Iterator[str]:
    """What each network that the run is about has more than the one that it is compared with, in a sentence."""
    found = [
        (one, other, one.record.get(measure.name), other.record.get(measure.name)) for one, other in summary.gains()
    ]
    for one, other, ours, theirs in found:
        if ours is not None and theirs is not None:
            is_alone = other.role is Role.BASELINE and len(found) == 1
            why = "Distillation" if is_alone else f"The {one.title}, compared with the {other.title}"
            yield f"{why}: {brought(measure, ours - theirs)}."


def samples(data: Mapping[str, Any], split: str) -> str:
    """How many samples a part of the data has."""
    count = data["images"].get(split)
    return "nobody knows how many" if count is None else f"{count:,}"


def brought(measure: Measure, difference: float) -> str:
    """A difference in words, with its direction where lower is better."""
    column = measure.column
    text = f"{column.difference(difference)} of {measure.label if measure.validated else column.label}"
    return text if column.higher_is_better else f"{text}, where lower is better"
