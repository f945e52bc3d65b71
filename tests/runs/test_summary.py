"""summary.json, typed: of whatever plan it is, and what of it is damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.runs.folder import read_summary, write_summary
from kd_lightning.runs.summary import KEYS, SHAPE, Role, summary_from
from kd_lightning.system.records import Damaged, fault
from tests.runs.summaries import summary_of

RECORD = {"model": "net", "top1": 0.5, "top1_validation": None}
PLANS: dict[str, tuple[dict[str, Any], dict[str, Role], str, str | None]] = {
    "two students": (
        {"first": RECORD, "second": RECORD},
        dict.fromkeys(("first", "second"), Role.STUDENT),
        "first",
        None,
    ),
    "one alone": ({"net": RECORD}, {"net": Role.BASELINE}, "net", None),
    "a chain": (
        {"big": RECORD, "between": RECORD, "alone": None, "small": RECORD},
        {"big": Role.TEACHER, "between": Role.ASSISTANT, "alone": Role.BASELINE, "small": Role.STUDENT},
        "small",
        "alone",
    ),
}


@pytest.mark.parametrize("plan", PLANS)
def test_a_summary_is_read_as_it_was_written(plan: str, tmp_path: Path) -> None:
    written = summary_of(
        *PLANS[plan], data={"validates_on": "validation", "selected_checkpoint": "last", "tested": True}
    )
    write_summary(tmp_path, written)
    read = read_summary(tmp_path)
    assert read == summary_from(json.loads(json.dumps(written.as_values())))
    assert read is not None
    assert read.as_values() == json.loads((tmp_path / "summary.json").read_text())
    assert [one.name for one in read.networks] == [name for name, record in PLANS[plan][0].items() if record]
    assert read.result.record == RECORD


def test_a_runs_own_summary_has_its_plan(finished: Path) -> None:
    values = json.loads((finished / "summary.json").read_text())
    assert values["plan"] == {
        "name": "distillation",
        "result": "student",
        "baseline": "scratch",
        "networks": {
            "teacher": {"title": "teacher", "role": "teacher"},
            "scratch": {"title": "student alone", "role": "baseline"},
            "student": {"title": "distilled student", "role": "student"},
        },
    }
    assert {*values} - {*values["plan"]["networks"]} <= {*KEYS}
    summary = read_summary(finished)
    assert summary is not None
    assert summary.result.record["model"] == values["student"]["model"]
    assert summary.baseline is not None
    assert [one.name for one in summary.of(Role.TEACHER)] == ["teacher"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plan": None}, "plan is None"),
        ({"plan": {"result": "other"}}, "plan.networks.other is missing"),
        ({"plan": {"baseline": "other"}}, "plan.networks.other is missing"),
        ({"plan": {"networks": {"student": {"title": "s", "role": "pupil"}}}}, "plan.networks.student.role is 'pupil'"),
        ({"scratch": None}, "scratch is None"),
        ({"student": {}}, "student.model is missing"),
    ],
)
def test_what_is_no_summary_is_named(change: dict[str, Any], words: str, run_folder: Path) -> None:
    path = run_folder / "summary.json"
    values = json.loads(path.read_text())
    if change.get("plan"):
        change = {"plan": values["plan"] | change["plan"]}
    path.write_text(json.dumps(values | change))
    with pytest.raises(Damaged, match=words.replace(".", r"\.")):
        read_summary(run_folder)


def test_the_shape_is_that_of_each_networks_record(finished: Path) -> None:
    values = json.loads((finished / "summary.json").read_text())
    assert fault(values, SHAPE) is None
    assert fault(values | {"teacher": values["teacher"] | {"top1": "high"}}, SHAPE) == "teacher.top1 is 'high'"
