"""What is trained once: found by runs that share all that shaped it, and by no other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHORT, Command, session_folder, trained_once
from tests.experiment.test_train import summary

FIFTH = (*SHORT, "scratch=false", "seed=5")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the teacher of the fifth seed, and of what these tests add."""
    session = session_folder(tmp_path_factory)
    trained_once(session, "fifth", *FIFTH, cache="cache-of-fifth")
    return session / "cache-of-fifth"


def test_the_next_run_finds_what_was_trained_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    first = command("kd-train", *SHORT, "seed=5")
    second = command("kd-train", *SHORT, "seed=5", "temperature=8")
    assert "teacher        digits_cnn_8, training" in first.output
    assert "teacher        digits_cnn_8, found" in second.output
    assert "student alone  digits_cnn_4, found" in second.output
    third = command("kd-train", *SHORT, "seed=5", "optimizer.lr=0.02")
    assert "teacher        digits_cnn_8, training" in third.output


def test_a_pretrained_file_is_a_teacher(command: Command) -> None:
    first = command("kd-train", *SHORT[:2], "teacher=none", "student.model=digits_cnn_8", "hydra.run.dir=teacher")
    weights = first.folder / "teacher" / "student.safetensors"
    outcome = command("kd-train", *SHORT, f"teacher.weights={weights}", "hydra.run.dir=student")
    assert outcome.code == 0, outcome.errors
    teacher = summary(outcome.folder / "student")["teacher"]
    assert teacher["top1"] == summary(outcome.folder / "teacher")["student"]["top1"]
    again = command("kd-train", *SHORT, f"teacher.weights={weights}", "hydra.run.dir=again", "temperature=2")
    assert "teacher        measured before" in again.output
    kept = summary(again.folder / "again")["teacher"]
    assert without_times(kept) == without_times(teacher)
    assert kept["latency_ms"] != teacher["latency_ms"], "times are measured anew, beside those of the other networks"
    report = (again.folder / "again" / "report.html").read_text()
    assert "digits_cnn_8" in report
    fewer = command(
        "kd-train", *SHORT, f"teacher.weights={weights}", "hydra.run.dir=fewer", "trainer.limit_test_batches=1"
    )
    assert "measured before" not in fewer.output


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if not name.startswith("latency")}


@pytest.mark.parametrize(
    "other",
    [
        "data.batch_size=50",
        "data.val_fraction=0.4",
        "data.train_samples=100",
        "data.augment=null",
        "trainer.max_epochs=1",
        "callbacks=early_stopping",
        "seed=6",
        "teacher.model=digits_cnn_4",
        "teacher.normalization={mean: [0.4], std: [0.4]}",
        "loss.ce.loss.label_smoothing=0.1",
    ],
)
def test_whatever_shapes_a_teacher_makes_another_one(
    command: Command, kept: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(kept))
    outcome = command("kd-train", *FIFTH, other)
    assert ", training (" in outcome.output, outcome.errors


def test_what_shapes_no_teacher_finds_it(command: Command, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(kept))
    assert "found" in command("kd-train", *FIFTH, "alpha=0.3", "trainer.log_every_n_steps=5").output


def test_a_file_of_weights_is_known_by_what_it_holds(command: Command, tmp_path: Path) -> None:
    for seed in (1, 2):
        command("kd-train", *SHORT, "teacher=none", "teacher.model=null", f"seed={seed}", f"hydra.run.dir=start{seed}")
    weights = tmp_path / "start.safetensors"
    said = []
    for seed in (1, 2):
        weights.write_bytes((tmp_path / f"start{seed}" / "student.safetensors").read_bytes())
        said.append(command("kd-train", *SHORT, f"student.weights={weights}", f"hydra.run.dir=run{seed}").output)
    assert all("student alone  digits_cnn_4, training" in output for output in said)


def test_a_checkpoint_brings_its_normalisation_along(command: Command) -> None:
    own = "student.normalization={mean: [0.9], std: [0.1]}"
    folder = command("kd-train", *SHORT, "teacher=none", "teacher.model=null", own, "hydra.run.dir=first").folder
    for name in ("student.safetensors", "checkpoints/best.ckpt"):
        teacher = ("teacher.model=digits_cnn_4", f"teacher.weights={folder / 'first' / name}")
        outcome = command("kd-train", *SHORT, *teacher, f"hydra.run.dir={Path(name).stem}", "scratch=false")
        assert outcome.code == 0, outcome.errors
        measured = summary(folder / Path(name).stem)["teacher"]["top1"]
        assert measured == summary(folder / "first")["student"]["top1"]


@pytest.mark.slow
def test_of_two_runs_at_once_one_trains_and_the_other_waits(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("kd-train")
    command = [sys.executable, str(script), *SHORT, "seed=123", "scratch=false"]
    runs = [
        subprocess.Popen([*command, f"temperature={i}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for i in (1, 2)
    ]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(", training (" in output for output in outputs) == [False, True]
    teachers = [json.loads(path.read_text())["teacher"]["top1"] for path in tmp_path.glob("outputs/*/*/summary.json")]
    assert len(teachers) == 2, "runs that begin in the same second have folders of their own"
    assert teachers[0] == teachers[1]
