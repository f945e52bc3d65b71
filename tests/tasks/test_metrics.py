"""Metrics against scikit-learn and plain numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support, top_k_accuracy_score
from torch import Tensor

from kd_lightning.tasks import Classification
from kd_lightning.tasks.metrics import Agreement

BATCH = 16
NAMES = {"top1", "top5", "balanced_accuracy", "nll", "precision", "recall", "f1", "ece"}


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def calibration_error(probabilities: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> float:
    """Guo et al. 2017, equation 3: 15 bins ((m-1)/15, m/15], weighted by their share."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == target
    bins = np.ceil(confidence * 15)
    return sum(
        abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)
    )


def oracle(logits: Tensor, target: Tensor) -> dict[str, float]:
    z, y, labels = logits.double().numpy(), target.numpy(), range(logits.shape[1])
    p, predicted = softmax(z), z.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, average="macro", zero_division=0)
    five = top_k_accuracy_score(y, z, k=5, labels=labels) if len(labels) > 5 else 1.0
    return {
        "top1": float((predicted == y).mean()),
        "top5": float(five),
        "balanced_accuracy": float(balanced_accuracy_score(y, predicted)),
        "nll": float((np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "ece": calibration_error(p, y),
    }


def measure(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Over several batches of unequal size."""
    metrics = Classification(logits.shape[1]).metrics("test")
    for z, y in zip(logits.split(BATCH), target.split(BATCH), strict=True):
        metrics.update(z, y)
    return {name: value.item() for name, value in metrics.compute().items()}


def draw(classes: int, scale: float, used: int | None = None, n: int = 203) -> tuple[Tensor, Tensor]:
    """Logits that are right more often than not, and labels of the first `used` classes."""
    target = torch.randint(used or classes, (n,))
    logits = scale * (torch.randn(n, classes) + torch.nn.functional.one_hot(target, classes))
    return logits, target


CASES: dict[str, tuple[int, float, int | None]] = {
    "10 classes": (10, 2.0, None),
    "100 classes, most unseen": (100, 1.0, 30),
    "6 classes, overconfident": (6, 9.0, None),
    "5 classes": (5, 2.0, None),
    "3 classes": (3, 0.5, None),
    "2 classes": (2, 3.0, None),
    "a class that nobody has or predicts": (4, 2.0, 3),
}


@pytest.mark.parametrize("case", CASES)
def test_equal_the_oracles(case: str) -> None:
    classes, scale, used = CASES[case]
    logits, target = draw(classes, scale, used)
    if case.startswith("a class that nobody"):
        logits[:, 3] = -50.0
    expected = oracle(logits, target)
    assert set(expected) == NAMES
    assert measure(logits, target) == pytest.approx(expected, abs=1e-5)


def test_logits_within_0_and_1_are_no_probabilities() -> None:
    """All logits in [0, 1], even summing to 1: the confidence is the softmax's, about 1/C, not the logit's."""
    target = torch.arange(4).repeat(10)
    logits = torch.nn.functional.one_hot(target, 4).float()
    confidence = np.e / (np.e + 3)
    measured = measure(logits, target)
    assert measured["top1"] == 1.0
    assert measured["ece"] == pytest.approx(1 - confidence, abs=1e-5)
    assert measured["nll"] == pytest.approx(-np.log(confidence), abs=1e-5)


def test_certain_predictions_share_a_bin_with_the_nearly_certain() -> None:
    """Ten certain errors beside ten nearly certain hits: one bin, half right."""
    logits, target = torch.zeros(20, 10), torch.zeros(20, dtype=torch.long)
    logits[:10, 0], logits[10:, 0], target[:10] = 200.0, 6.0, 1
    nearly = np.exp(6) / (np.exp(6) + 9)
    assert measure(logits, target)["ece"] == pytest.approx((1 + nearly) / 2 - 0.5, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision(dtype: torch.dtype) -> None:
    logits, target = draw(8, 2.0)
    logits = logits.to(dtype)
    expected = oracle(logits, target)
    measured = measure(logits, target)
    assert {name: measured[f"{name}"] for name in ("top1", "nll", "ece")} == pytest.approx(
        {name: expected[name] for name in ("top1", "nll", "ece")}, abs=1e-4
    )


def test_nll_of_a_diverged_network_is_no_number() -> None:
    """One value that is none among many shows; it is not left out of the mean."""
    logits, target = draw(4, 2.0)
    logits[7] = float("nan")
    assert np.isnan(measure(logits, target)["nll"])


def test_while_training_fewer_are_watched() -> None:
    metrics = Classification(10).metrics("val")
    logits, target = draw(10, 2.0)
    metrics.update(logits, target)
    expected = {name: oracle(logits, target)[name] for name in ("top1", "top5", "nll")}
    assert {name: value.item() for name, value in metrics.compute().items()} == pytest.approx(expected, abs=1e-5)
    metrics.reset()
    metrics.update(logits[:9], target[:9])
    assert metrics.compute()["nll"].item() == pytest.approx(oracle(logits[:9], target[:9])["nll"], abs=1e-5)


def test_balanced_accuracy_is_watched_where_it_selects() -> None:
    metrics = Classification(10, selects_on="balanced_accuracy").metrics("val")
    logits, target = draw(10, 2.0)
    metrics.update(logits, target)
    assert metrics.compute()["balanced_accuracy"].item() == pytest.approx(oracle(logits, target)["balanced_accuracy"])


def test_agreement() -> None:
    student, teacher = torch.randn(203, 7), 0.2 * torch.randn(203, 7)
    teacher[:150] += student[:150]
    metric = Agreement(7)
    for pair in zip(student.split(BATCH), teacher.split(BATCH), strict=True):
        metric.update(*pair)
    expected = (student.numpy().argmax(axis=1) == teacher.numpy().argmax(axis=1)).mean()
    assert 0.5 < expected < 1
    assert metric.compute().item() == pytest.approx(expected)
