"""The chain of plan=assistants and plan=born_again: each link, who taught it, and what that brought."""

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.columns import Measure
from kd_lightning.reporting.pages.chain import chain
from kd_lightning.reporting.pages.content import Table
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from kd_lightning.runs.summary import Part, PlanRecord, Role, Summary
from kd_lightning.tasks import Classification

TOP1 = Measure(Classification(10).selects_on)
TEACHER, BASELINE, ASSISTANT, STUDENT = Role.TEACHER, Role.BASELINE, Role.ASSISTANT, Role.STUDENT


class Planned(Run):
    """A run whose config is not read from a folder."""

    plan: Any = None

    @property
    def config(self) -> dict[str, Any]:
        return {"plan": self.plan}


def shown(plan: str, networks: dict[str, tuple[Role, float]], result: str, dense: bool = False) -> list[list[str]]:
    """The rows of the chain's table."""
    parts = {name: Part(name.replace("_", " "), role) for name, (role, _) in networks.items()}
    baseline = next((name for name, part in parts.items() if part.role is BASELINE), None)
    records = {name: {"model": f"net_{name}", "params": 1000, "top1": top1} for name, (_, top1) in networks.items()}
    data = {"name": "data", "task": Classification(10).compared().as_record()}
    summary = Summary(data, 0, PlanRecord(plan, result, baseline, parts), records, {}, {}, {})
    run = Planned(Path("run"), "run", FINISHED, {}, summary)
    object.__setattr__(run, "plan", {"dense": dense})
    sections = chain(run, TOP1)
    if not sections:
        return []
    (table,) = sections[0].contents
    assert isinstance(table, Table)
    assert [table.rows[place][0].text for place in table.marked] == [parts[result].title]
    return [[cell.text for cell in row] for row in table.rows]


def test_each_assistant_stands_beside_its_teacher_and_the_last_beside_the_student_alone() -> None:
    networks = {
        "teacher": (TEACHER, 0.90),
        "assistant_1": (ASSISTANT, 0.85),
        "assistant_2": (ASSISTANT, 0.87),
        "scratch": (BASELINE, 0.70),
        "student": (STUDENT, 0.76),
    }
    rows = shown("assistants", networks, "student")
    assert [(row[0], row[2], *row[4:]) for row in rows] == [
        ("teacher", "", "90.00", "", ""),
        ("assistant 1", "teacher", "85.00", "-5.00", ""),
        ("assistant 2", "assistant 1", "87.00", "+2.00", ""),
        ("student", "assistant 2", "76.00", "-11.00", "+6.00"),
    ]
    dense = shown("assistants", networks, "student", dense=True)
    assert [row[2] for row in dense] == [
        "",
        "teacher",
        "teacher, assistant 1",
        "teacher, assistant 1, assistant 2",
    ]
    assert dense[2][5] == "-3.00", "beside the best of them"


@pytest.mark.parametrize("has_teacher", [True, False])
def test_generations_stand_beside_the_one_before_and_the_student_alone(has_teacher: bool) -> None:
    networks = {
        **({"teacher": (TEACHER, 0.80)} if has_teacher else {}),
        "scratch": (BASELINE, 0.70),
        "generation_1": (STUDENT, 0.72),
        "student": (STUDENT, 0.75),
        "all_generations": (STUDENT, 0.77),
    }
    first, *born = shown("born_again", networks, "student")
    assert first[0] == ("teacher" if has_teacher else "scratch")
    assert [(row[0], row[2], *row[4:]) for row in born] == [
        ("generation 1", first[0], "72.00", "-8.00" if has_teacher else "+2.00", "+2.00"),
        ("student", "generation 1", "75.00", "+3.00", "+5.00"),
        ("all generations", "", "77.00", "", "+7.00"),
    ]


def test_other_plans_have_no_chain() -> None:
    assert not shown("distillation", {"teacher": (TEACHER, 0.9), "student": (STUDENT, 0.8)}, "student")
