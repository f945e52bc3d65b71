"""What a test leaves class by class, against plain numpy; and which networks are tested at all."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lightning.inference.evaluation import test_run as run_test
from kd_lightning.tasks.predictions import Predictions
from tests.conftest import Command
from tests.experiment.test_train import SHORT, summary
from tests.tasks.test_metrics import softmax

ARRAYS = {"confusions", "bins", "soft_labels", "entropy", "ratio"}
TEST_METRICS = (
    "top1",
    "top5",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "nll",
    "ece",
    "agreement",
    "top1_best",
    "top1_last",
)


def computed(logits: Tensor, target: Tensor) -> dict[str, np.ndarray]:
    """Over batches of unequal size."""
    metric = Predictions(logits.shape[1])
    for z, y in zip(logits.split(16), target.split(16), strict=True):
        metric.update(z, y)
    return {name: value.numpy() for name, value in metric.compute().items()}


def dense(rows: np.ndarray, classes: int) -> np.ndarray:
    """Rows of a class, another and a value as a matrix."""
    found = np.zeros((classes, classes))
    np.add.at(found, (rows[:, 0].astype(int), rows[:, 1].astype(int)), rows[:, 2])
    return found


def test_predictions_equal_numpy() -> None:
    target = torch.randint(6, (203,))
    logits = 3 * torch.randn(203, 7)  # nobody has the seventh class
    logits[3, 5] = 300.0  # a certain one
    found = computed(logits, target)
    z, y = logits.double().numpy(), target.numpy()
    p = softmax(z)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    expected = np.zeros((7, 7), dtype=int)
    np.add.at(expected, (y, p.argmax(axis=1)), 1)
    np.testing.assert_array_equal(dense(found["confusions"], 7), expected)
    assert (found["confusions"][:, 2] > 0).all()
    place = np.minimum((confidence * 15).astype(int), 14)
    for index, (count, mean, accuracy) in enumerate(found["bins"]):
        inside = place == index
        assert count == inside.sum()
        if count:
            assert mean == pytest.approx(confidence[inside].mean(), abs=1e-5)
            assert accuracy == pytest.approx(right[inside].mean(), abs=1e-5)
    soft = np.zeros((7, 7))
    for label in range(6):
        soft[label] = p[y == label].mean(axis=0)
    np.testing.assert_allclose(dense(found["soft_labels"], 7), soft * (1 - np.eye(7)), atol=1e-5)
    assert (np.diff(found["soft_labels"][:, 2]) <= 0).all()
    for temperature, nats in found["entropy"]:
        q = softmax(z / temperature)
        assert nats == pytest.approx(-(q * np.log(q + 1e-300)).sum(axis=1).mean(), abs=1e-4)
    assert found["entropy"][:, 0].tolist() == [1, 2, 4, 8, 16]
    second, first = np.sort(z, axis=1)[:, -2:].T
    ratios = (first / second)[second > 0]
    assert 0 < len(ratios) < len(z)
    assert found["ratio"] == pytest.approx([ratios.mean(), len(ratios)], rel=1e-4)


def test_predictions_of_a_diverged_network_are_counted() -> None:
    found = computed(torch.full((20, 4), float("nan")), torch.randint(4, (20,)))
    assert found["confusions"][:, 2].sum() == 20
    assert found["bins"][:, 0].sum() == 20
    assert found["ratio"].tolist() == [0, 0], "of none"


def test_a_run_keeps_the_arrays_of_all_three_networks(command: Command, finished: Path) -> None:
    first = finished
    second = command("kd-train", *SHORT, "temperature=2").run  # finds its teacher and its student alone
    for run in (first, second):
        arrays = np.load(run / "evaluation.npz")
        assert set(arrays) == {"class_names"} | {f"{r}_{a}" for r in ("teacher", "scratch", "student") for a in ARRAYS}
        assert arrays["class_names"].tolist() == [str(digit) for digit in range(10)]
        record = summary(run)
        for role in ("teacher", "scratch", "student"):
            confusion, bins = dense(arrays[f"{role}_confusions"], 10), arrays[f"{role}_bins"]
            assert confusion.sum() == record["data"]["images"]["test"]
            assert np.trace(confusion) / confusion.sum() == pytest.approx(record[role]["top1"])
            error = (np.abs(bins[:, 1] - bins[:, 2]) * bins[:, 0]).sum() / confusion.sum()
            assert error == pytest.approx(record[role]["ece"], abs=1e-5)
    for name in ("teacher_soft_labels", "scratch_confusions"):
        np.testing.assert_array_equal(np.load(first / "evaluation.npz")[name], np.load(second / "evaluation.npz")[name])


def test_each_network_is_validated_too(command: Command, finished: Path) -> None:
    record = summary(finished)
    for role in ("teacher", "scratch", "student"):
        assert 0 <= record[role]["top1_validation"] <= 1
        assert record[role]["nll_validation"] > 0
    stored = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    score = next(state for name, state in stored["callbacks"].items() if "val/top1" in name)["best_model_score"]
    assert record["student"]["top1_validation"] == pytest.approx(float(score))
    again = summary(command("kd-train", *SHORT, "temperature=3", "hydra.run.dir=again").folder / "again")
    assert again["teacher"]["top1_validation"] == record["teacher"]["top1_validation"]
    weights = f"teacher.weights={finished / 'student.safetensors'}"
    options = ("teacher.model=digits_cnn_4", weights, "scratch=false", "hydra.run.dir=file")
    from_file = summary(command("kd-train", *SHORT, *options).folder / "file")
    assert from_file["teacher"]["top1_validation"] == record["student"]["top1_validation"]


def test_a_run_may_leave_the_test_set_alone_and_be_tested_later(command: Command, finished: Path) -> None:
    held = command("kd-train", *SHORT, "test=false", "hydra.run.dir=held")
    run = held.folder / "held"
    assert held.code == 0, held.errors
    before = summary(run)
    assert before["data"]["tested"] is False
    assert all(before["student"][name] is None for name in TEST_METRICS)
    assert before["student"]["top1_validation"] == summary(finished)["student"]["top1_validation"]
    assert not any(name.startswith("student") for name in np.load(run / "evaluation.npz"))
    assert "student_confusions" not in (run / "metrics.csv").read_text()
    assert "test/top1" not in (run / "metrics.csv").read_text()
    assert "was not tested" in held.output
    after = run_test(run).as_values()
    assert after == json.loads((run / "summary.json").read_text())
    assert after["data"]["tested"] is True
    expected = summary(finished)["student"]
    for name in (*TEST_METRICS, "top1_validation", "nll_validation"):
        assert after["student"][name] == pytest.approx(expected[name], abs=1e-6), name
    ours, theirs = np.load(run / "evaluation.npz"), np.load(finished / "evaluation.npz")
    np.testing.assert_array_equal(ours["student_confusions"], theirs["student_confusions"])
    assert {*ours} == {*theirs}
