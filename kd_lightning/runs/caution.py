"""What a reader of results has to know first: on how much they were measured, and of what teacher."""

import math
from collections.abc import Mapping
from typing import Any

SPLITS = {"": "test", "_validation": "val"}  # by what the names of their metrics end with
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
    teacher, scratch = (summary.get(role) or {} for role in ("teacher", "scratch"))
    metric, name = ("top1", "top-1") if teacher.get("top1") is not None else ("top1_validation", "validation top-1")
    reached = teacher.get(metric)
    if reached is None:
        return None
    end = metric.removeprefix("top1")
    images = teacher.get(f"images{end}") or summary["data"]["images"].get(SPLITS[end]) or 1
    chance = 1 / summary["data"]["num_classes"]
    if reached <= chance + SURE * math.sqrt(chance * (1 - chance) / images):
        return f"The teacher is at chance: {100 * reached:.2f} % {name}, and guessing gives {100 * chance:.2f} %."
    alone = scratch.get(metric)
    if alone is not None and reached < alone:
        return f"The teacher is worse than the student alone: {100 * reached:.2f} and {100 * alone:.2f} % {name}."
    return None
