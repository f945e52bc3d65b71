"""Summaries of runs that nobody ran, of networks with any names and roles."""

from typing import Any

from kd_lightning.runs.summary import Part, PlanRecord, Role, Summary
from kd_lightning.tasks import Classification

TITLES = {Role.BASELINE: "student alone", Role.STUDENT: "distilled student"}


def summary_of(
    records: dict[str, dict[str, Any] | None],
    roles: dict[str, Role],
    result: str,
    baseline: str | None = None,
    data: dict[str, Any] | None = None,
    seed: int = 0,
) -> Summary:
    """One of a classification of ten classes; a record of None is of a network that there is not."""
    there = {name: role for name, role in roles.items() if records.get(name) is not None}
    parts = {name: Part(TITLES.get(role, role.value), role) for name, role in there.items()}
    baseline = baseline if baseline in there else None
    known = {"name": "data", "images": {"test": 1000, "val": 0}, "task": Classification(10).compared().as_record()}
    plan = PlanRecord("plan", result, baseline, parts)
    return Summary(known | (data or {}), seed, plan, records, {}, {"fit_s": 1.0, "images_per_s": 1.0}, {})


def distilled(
    teacher: dict[str, Any] | None, scratch: dict[str, Any] | None, student: dict[str, Any], **given: Any
) -> Summary:
    """One of distillation."""
    records = {"teacher": teacher, "scratch": scratch, "student": student}
    roles = dict(zip(records, (Role.TEACHER, Role.BASELINE, Role.STUDENT), strict=True))
    return summary_of(records, roles, "student", "scratch", **given)
