"""plan=route: the student follows the teacher's own training, anchor by anchor."""

import csv
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import Command

SMALL = (
    *("trainer.max_epochs=3", "trainer.limit_train_batches=2", "trainer.accelerator=cpu"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "scratch=false"),
)
ROUTE = ("plan=route", "plan.anchors=3", *SMALL)


@pytest.fixture(autouse=True)
def store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def weights_below(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def test_a_student_follows_its_teacher_along_a_training_that_gives_the_same_teacher(
    command: Command, store: Path
) -> None:
    first = command("kd-train", *ROUTE, "hydra.run.dir=first")
    assert first.code == 0, first.errors
    assert [file.name for file in weights_below(store / "anchors")] == ["epoch_1.safetensors", "epoch_2.safetensors"]
    (teacher,) = weights_below(store / "networks")
    with (first.folder / "first" / "metrics.csv").open() as file:
        followed = [float(row["train/anchor"]) for row in csv.DictReader(file) if row["train/anchor"]]
    assert followed == [1, 2, 3]
    summary = json.loads((first.folder / "first" / "summary.json").read_text())
    assert [*summary["plan"]["networks"]] == ["teacher", "student"]

    tested = command("kd-eval", "run=first")
    assert tested.code == 0, tested.errors
    assert f"{100 * summary['student']['agreement']:.2f}" in tested.output, "with the trained teacher, not an anchor"

    again = command("kd-train", *ROUTE, "student.model=digits_cnn_8", "hydra.run.dir=again")
    assert "2 anchors of digits_cnn_4, found" in again.output
    plain = command("kd-train", *SMALL, "hydra.run.dir=plain")
    assert f"found ({teacher.parent.name})" in plain.output, "a plan without anchors has the same teacher"

    kept = load_file(teacher)
    teacher.unlink()
    anew = command("kd-train", *SMALL, "hydra.run.dir=anew")
    assert f"training ({teacher.parent.name})" in anew.output
    assert all((value == kept[name]).all() for name, value in load_file(teacher).items())
