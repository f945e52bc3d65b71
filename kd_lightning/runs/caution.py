"""What a reader of results has to know first: on how much they were measured, and of what teacher."""

import math
from collections.abc import Mapping
from typing import Any

from kd_lightning.columns import VALIDATED, Compared
from kd_lightning.runs.summary import Network, Role, Summary

SPLITS = {"": "test", VALIDATED: "val"}  # by what the names of their metrics end with
SURE = 2  # standard deviations above chance


def with_parts(summary: Summary) -> Summary:
    """A summary, each network with `part` and `part_validation` where it was measured on a part of the data."""
    found = {}
    for network in summary.networks:
        parts = {f"part{end}": part(network.record, summary.data, end) for end in SPLITS}
        found[network.name] = network.record | {name: text for name, text in parts.items() if text}
    return summary.with_records(found)


def part(network: Mapping[str, Any], data: Mapping[str, Any], end: str = "") -> str | None:
    """Such as `first 10 of 900`; None where a network was measured on all images, or on none."""
    measured, of = network.get(f"images{end}"), data["images"].get(SPLITS[end])
    return None if measured is None or not of or measured >= of else f"first {measured:,.0f} of {of:,}"


def teacher_warnings(summary: Summary) -> list[str]:
    """A line for each teacher that is at chance, or worse than what the result is compared with."""
    compared = summary.compared
    if compared is None:
        return []
    found = (teacher_warning(teacher, summary, compared) for teacher in summary.of(Role.TEACHER))
    return [line for line in found if line is not None]


def teacher_warning(teacher: Network, summary: Summary, compared: Compared) -> str | None:
    tested = teacher.record.get(compared.test.name) is not None
    measure = compared.test if tested else compared.validation
    column, reached = measure.column, teacher.record.get(measure.name)
    if reached is None:
        return None
    name = measure.label if measure.validated else column.label
    samples = teacher.record.get(f"images{measure.end}") or summary.data["images"].get(SPLITS[measure.end]) or 1
    chance = compared.chance
    if chance is not None and reached <= chance + SURE * math.sqrt(chance * (1 - chance) / samples):
        guessing = column.with_unit(chance)
        return f"The {teacher.title} is at chance: {column.with_unit(reached)} {name}, and guessing gives {guessing}."
    baseline = summary.baseline
    alone = None if baseline is None else baseline.record.get(measure.name)
    if baseline is not None and alone is not None and column.is_better(alone, reached):
        both = f"{column.text(reached)} and {column.with_unit(alone)} {name}"
        return f"The {teacher.title} is worse than the {baseline.title}: {both}."
    return None
