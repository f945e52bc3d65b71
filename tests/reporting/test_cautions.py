"""What results say of themselves: on how much they were measured, of which weights, and of what teacher."""

import csv
import json
from pathlib import Path

import pytest

from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.runs.caution import teacher_warnings
from kd_lightning.runs.collections.reading import read
from kd_lightning.runs.summary import Role
from tests.conftest import Command
from tests.runs.summaries import distilled, summary_of
from tests.sweeps.test_sweep import FOLDER, SMALL

QUICK = (*SMALL, "teacher.weights=null", "scratch=false", "data.eval_batch_size=64")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_part_of_the_data_is_never_shown_as_the_whole(command: Command) -> None:
    limits = ("trainer.limit_test_batches=2", "trainer.limit_val_batches=1")
    outcome = command("kd-train", *QUICK, *limits, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    record = json.loads(Path("run/summary.json").read_text())
    assert {record[role]["images"] for role in ("teacher", "student")} == {128}
    assert {record[role]["images_validation"] for role in ("teacher", "student")} == {64}
    assert "first 128 of 898" in outcome.output
    assert "Best epoch by first 64 of 450 validation images; 449 training and first 128 of 898 test images." in (
        outcome.output
    )
    page = run_page(read([Path("run")]).runs[0])
    assert page.cards[0].label == "student, test, first 128 of 898 images, top-1"
    assert "first 128 of 898" in Path("run/report.html").read_text()
    [tested] = [row for row in rows(Path("run")) if row.get("test/top1")]
    assert float(tested["test/images"]) == 128, "one row of the test, that of the reported weights"
    assert float(tested["test/top1"]) == pytest.approx(record["student"]["top1"])
    again = command("kd-eval", "run=run")
    assert "first 128 of 898" in again.output
    whole = command("kd-train", *QUICK, "hydra.run.dir=whole")
    assert "first" not in whole.output
    record = json.loads(Path("whole/summary.json").read_text())
    for role in ("teacher", "student"):
        assert "images" not in record[role], "what was measured on a part is not taken for the whole"
    [tested] = [row for row in rows(Path("whole")) if row.get("test/top1")]
    assert "test/images" not in tested


def test_no_test_at_all_is_refused(command: Command) -> None:
    outcome = command("kd-train", *QUICK, "trainer.limit_test_batches=0")
    assert outcome.code == 2
    assert "trainer.limit_test_batches=0: " in outcome.error_lines[0]
    assert "test=false" in outcome.error_lines[0]
    assert list(outcome.folder.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_on_a_part_says_so(command: Command) -> None:
    outcome = command("kd-train", "-m", "seed=0", *QUICK, "trainer.limit_test_batches=1", FOLDER)
    assert outcome.code == 0, outcome.errors
    assert "Only the first 64 of 898 test images were measured." in outcome.output
    assert "The teacher is at chance" in outcome.output
    assert command("kd-report", "sweep").code == 0
    assert "test top-1, first 64 of 898 images" in Path("sweep/report.html").read_text()


def warnings(teacher: float | None, alone: float | None, images: int = 1000) -> list[str]:
    records = [None if value is None else {"top1": value} for value in (teacher, alone)]
    return teacher_warnings(distilled(*records, {"top1": 0.9}, data={"images": {"test": images, "val": 0}}))


def test_a_teacher_that_cannot_teach_is_told() -> None:
    assert warnings(0.9, 0.8) == []
    assert warnings(0.9, None) == []
    worse = "The teacher is worse than the student alone: 70.00 and 80.00 % top-1."
    assert warnings(0.7, 0.8) == [worse]
    chance = "The teacher is at chance: 11.00 % top-1, and guessing gives 10.00 %."
    assert warnings(0.11, None) == [chance]
    assert warnings(0.11, None, images=100_000) == [], "of so many images it is more than chance"
    assert warnings(None, 0.8) == []
    records = {"big": {"top1": 0.11}, "small": {"top1": 0.7}, "alone": {"top1": 0.8}}
    roles = {"big": Role.TEACHER, "small": Role.TEACHER, "alone": Role.BASELINE}
    assert teacher_warnings(summary_of(records, roles, "alone", "alone")) == [chance, worse], "each, whatever its name"


def test_a_profile_is_printed_and_written(command: Command) -> None:
    outcome = command("kd-train", *SMALL[1:2], "teacher=none", "debug=profiler", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "run_training_batch" in outcome.output
    assert "run_training_batch" in Path("run/fit-profile.txt").read_text()
