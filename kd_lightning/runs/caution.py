"""What a reader of results has to know first: on how much they were measured, and of what teacher."""

import math
from collections.abc import Mapping
from typing import Any

from kd_lightning.columns import VALIDATED, compared_by

SPLITS = {"": "test", VALIDATED: "val"}  # by what the names of their metrics end with
SURE = 2  # standard deviations above chance


def with_parts(summary: dict[str, Any]) -> dict[str, Any]:
    """A run's summary, each network with `part` and `part_validation` where it was measured on a part of the data."""
    found = dict(summary)
    for role in ("teacher", "scratch", "student"):
        if network := summary.get(role):
            parts = {f"part{end}": part(network, summary["data"], end) for end in SPLITS}
            found[role] = network | {name: text for name, text in parts.items() if text}
    return found


def part(network: Mapping[str, Any], data: Mapping[str, Any], end: str = "") -> str | None:
    """Such as `first 10 of 900`; None where a network was measured on all images, or on none."""
    measured, of = network.get(f"images{end}"), data["images"].get(SPLITS[end])
    return None if measured is None or not of or measured >= of else f"first {measured:,.0f} of {of:,}"


def teacher_warning(summary: Mapping[str, Any]) -> str | None:
    """A line where the teacher is at chance, or worse than the student alone."""
    compared = compared_by(summary)
    if compared is None:
        return None
    teacher, scratch = (summary.get(role) or {} for role in ("teacher", "scratch"))
    measure = compared.test if teacher.get(compared.test.name) is not None else compared.validation
    column, reached = measure.column, teacher.get(measure.name)
    if reached is None:
        return None
    name = measure.label if measure.validated else column.label
    samples = teacher.get(f"images{measure.end}") or summary["data"]["images"].get(SPLITS[measure.end]) or 1
    chance = compared.chance
    if chance is not None and reached <= chance + SURE * math.sqrt(chance * (1 - chance) / samples):
        guessing = column.with_unit(chance)
        return f"The teacher is at chance: {column.with_unit(reached)} {name}, and guessing gives {guessing}."
    alone = scratch.get(measure.name)
    if alone is not None and column.is_better(alone, reached):
        both = f"{column.text(reached)} and {column.with_unit(alone)} {name}"
        return f"The teacher is worse than the student alone: {both}."
    return None
