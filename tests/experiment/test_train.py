"""kd-train and kd-eval on the real digits, as a user runs them."""

import csv
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from kd_lightning.models import create_model, load_weights
from tests.conftest import SHORT, Command

COST = {"params", "flops", "latency_ms", "latency_iqr_ms"}
METRICS = {"model", *COST, "top1", "top5", "balanced_accuracy", "precision", "recall", "f1", "nll", "ece"}


def summary(run: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((run / "summary.json").read_text())  # type: ignore[no-any-return]


def test_one_run_leaves_all_its_files(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "seed=77")
    assert outcome.code == 0, outcome.errors
    files = {str(path.relative_to(outcome.run)) for path in outcome.run.rglob("*") if path.is_file()}
    assert files == {
        ".hydra/config.yaml",
        ".hydra/resolved.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.before.ckpt",
        "checkpoints/last.ckpt",
        "checksums.json",
        "environment.json",
        "evaluation.npz",
        "metrics.csv",
        "report.html",
        "scratch/metrics.csv",
        "student.safetensors",
        "summary.json",
        "teacher/metrics.csv",
    }
    assert "distilled student" in outcome.output
    assert "points of top-1" in (outcome.run / "report.html").read_text()
    environment = json.loads((outcome.run / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")


def test_the_summary_compares_three_networks(command: Command) -> None:
    run = command("kd-train", *SHORT, "temperature=2", "alpha=0.5").run
    record = summary(run)
    assert list(record) == ["data", "seed", "plan", "teacher", "scratch", "student", "objective", "time", "memory"]
    assert set(record["teacher"]) >= METRICS
    assert set(record["scratch"]) >= METRICS
    assert METRICS | {"top1_best", "top1_last", "top1_validation", "agreement"} <= set(record["student"])
    assert record["objective"]["kd"] == {"loss": "SoftTarget", "weight": 0.5, "temperature": 2}
    assert record["objective"]["ce"]["weight"] == 0.5
    assert record["time"]["images_per_s"] > 0
    assert record["memory"]["peak_rss_gib"] > 0.1
    assert f"At most {record['memory']['peak_rss_gib']:.1f} GiB in memory" in (run / "report.html").read_text()
    assert record["data"]["validates_on"] == "validation"
    assert record["student"]["top1"] == record["student"]["top1_best"]


def test_validation_on_the_test_set_is_said_and_never_selects(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "data.val_fraction=0", "scratch=false")
    record = summary(outcome.run)
    assert record["data"]["validates_on"] == "test"
    assert record["student"]["top1"] == record["student"]["top1_last"]
    assert record["student"]["top1_validation"] is None
    assert "validated on the test set" in outcome.output
    assert record["scratch"] is None


def test_the_same_seed_gives_the_same_numbers(command: Command) -> None:
    timing = {"latency_ms", "latency_iqr_ms"}
    students = [summary(command("kd-train", *SHORT, f"hydra.run.dir=run{i}").folder / f"run{i}") for i in range(2)]
    first, second = ({k: v for k, v in s["student"].items() if k not in timing} for s in students)
    assert first == second


def test_the_metrics_file_has_every_term_raw_and_weighted(command: Command) -> None:
    run = command("kd-train", *SHORT, "loss=[ce,kd,attention,fitnet]", "trainer.log_every_n_steps=1").run
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    steps = [row for row in rows if row["train/loss"]]
    assert len(steps) == 2 * 7, "every step of two epochs is logged"
    for row in steps:
        weighted = sum(float(row[f"train/{term}_weighted"]) for term in ("ce", "kd", "attention", "fitnet"))
        assert float(row["train/loss"]) == pytest.approx(weighted, rel=1e-4)
        assert float(row["train/kd_weighted"]) == pytest.approx(0.9 * float(row["train/kd"]), rel=1e-4)
    assert any(row["val/top1"] for row in rows)


def test_the_saved_student_loads_anywhere(finished: Path) -> None:
    student = create_model("digits_cnn_4", num_classes=10, in_channels=1)
    load_weights(student, finished / "student.safetensors")
    with safe_open(finished / "student.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["model"] == "digits_cnn_4"
    assert json.loads(metadata["mean"]) == pytest.approx([0.305], abs=1e-3)


def test_checkpoints_load_weights_only_and_hold_no_teacher(finished: Path) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(finished / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert all(key.startswith("student.") for key in checkpoint["state_dict"])
        assert checkpoint["sources"]["teacher"]["model"] == "digits_cnn_8"
        assert checkpoint["hyper_parameters"]["config"]["temperature"] == 4.0


def test_kd_eval_measures_what_the_run_measured(command: Command, run_folder: Path) -> None:
    outcome = command("kd-eval", f"run={run_folder}")
    assert outcome.code == 0, outcome.errors
    rows = [line.split() for line in outcome.output.splitlines() if "%" in line or "NLL" in line]
    assert len(rows) == 9
    for row in rows:
        assert row[-1] == row[-2], "now, and in summary.json"


def test_without_a_teacher_it_is_ordinary_training(command: Command) -> None:
    outcome = command("kd-train", *SHORT[:2], "teacher=none")
    record = summary(outcome.run)
    assert record["teacher"] is None
    assert record["scratch"] is None
    assert record["objective"] == {"ce": {"loss": "CrossEntropy", "weight": 1.0, "label_smoothing": 0.0}}
    assert command("kd-eval", f"run={outcome.run}").code == 0


def test_one_that_teaches_itself_without_a_teacher_is_compared_with_itself_alone(command: Command) -> None:
    own = (
        "+loss.own={_target_: kd_lightning.objective.Term, signals: [student.logits, student.logits.detached], "
        "loss: {_target_: kd_lightning.losses.SoftTarget}}"
    )
    small = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "student.model=digits_cnn_4", *SHORT[:1])
    outcome = command("kd-train", *small, "teacher=none", own, "scratch.optimizer={lr: 0.02}", "hydra.run.dir=own")
    assert outcome.code == 0, outcome.errors
    record = json.loads((outcome.folder / "own" / "summary.json").read_text())
    assert record["teacher"] is None
    assert record["scratch"]["model"] == record["student"]["model"] == "digits_cnn_4"
    assert "distilled student" in outcome.output
    assert command("kd-eval", "run=own").code == 0
    refused = command("kd-train", *small, "teacher=none", "scratch.optimizer={lr: 0.02}")
    assert refused.code == 2
    assert "scratch.optimizer={lr: 0.02}: the student is not trained alone where it" in refused.errors


@pytest.mark.parametrize(
    ("loss", "weight"), [("[ce,kd]", 0.25), ("[ce]", 1.0), ("[ce,attention]", 1.0), ("[ce,kd,attention]", 0.25)]
)
def test_cross_entropy_weighs_one_minus_alpha_beside_soft_targets_alone(
    command: Command, loss: str, weight: float
) -> None:
    config = OmegaConf.create(command("kd-train", "alpha=0.75", f"loss={loss}", "--cfg", "job").output)
    assert config.loss.ce.weight == weight


@pytest.mark.parametrize(
    "options", [("trainer=mixed",), ("optimizer=adamw", "optimizer.lr=0.01"), ("callbacks=early_stopping",)]
)
def test_other_trainers_optimizers_and_callbacks_run(command: Command, options: tuple[str, ...]) -> None:
    outcome = command("kd-train", *SHORT, *options, "scheduler=warmup_cosine")
    assert outcome.code == 0, outcome.errors
    assert summary(outcome.run)["student"]["nll"] < 5


@pytest.mark.parametrize("debug", ["fast_dev_run", "overfit", "profiler"])
def test_debug_configs_run(command: Command, debug: str) -> None:
    assert command("kd-train", *SHORT, f"debug={debug}").code == 0


def test_a_multirun_is_a_folder_a_job(command: Command) -> None:
    outcome = command("kd-train", "-m", *SHORT, "temperature=1,4", "hydra.sweep.dir=sweep")
    assert outcome.code == 0, outcome.errors
    kd = [summary(outcome.folder / "sweep" / job)["objective"]["kd"] for job in ("0", "1")]
    assert [term["temperature"] for term in kd] == [1, 4]


def test_without_a_best_checkpoint_the_last_weights_are_reported_as_such(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "callbacks.checkpoint_best=null")
    record = summary(outcome.run)
    assert record["data"]["selected_checkpoint"] == "last"
    assert record["student"]["top1"] == record["student"]["top1_last"]
    assert "Last epoch" in outcome.output
