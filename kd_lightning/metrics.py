"""What a classifier is measured by; all but NLL are fractions in [0, 1]."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)


class NegativeLogLikelihood(Metric):
    """Mean of -log softmax(logits)[target]. Takes logits (B, C) and target (B,)."""

    # Not a MeanMetric, which leaves out what is not a number: a network that diverged would look better than it is.
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        self.total += F.cross_entropy(logits.float(), target, reduction="sum")
        self.count += len(target)

    def compute(self) -> Tensor:
        return self.total / self.count


class ExpectedCalibrationError(MulticlassCalibrationError):
    """Expected calibration error, 15 equal bins, L1 (Guo et al. 2017, arXiv:1706.04599). Takes logits and target."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, n_bins=15, norm="l1", validate_args=False)

    def update(self, logits: Tensor, target: Tensor) -> None:
        # torchmetrics would count a probability of exactly 1 in a sixteenth bin.
        below_one = 1 - torch.finfo(torch.float32).eps / 2
        super().update(logits.float().softmax(dim=1).clamp(max=below_one), target)


def selection_metrics(num_classes: int, prefix: str) -> MetricCollection:
    """What is watched while training: top-1, top-5 and NLL."""
    metrics: dict[str, Metric | MetricCollection] = {
        "top1": _metric(MulticlassAccuracy, num_classes, average="micro"),
        "top5": _metric(MulticlassAccuracy, num_classes, average="micro", top_k=min(5, num_classes)),
        "nll": NegativeLogLikelihood(),
    }
    return MetricCollection(metrics, prefix=prefix)


def test_metrics(num_classes: int, prefix: str) -> MetricCollection:
    """What a finished network is tested by: also macro precision, recall and F1, and the calibration error."""
    metrics: dict[str, Metric | MetricCollection] = {
        "precision": _metric(MulticlassPrecision, num_classes, average="macro"),
        "recall": _metric(MulticlassRecall, num_classes, average="macro"),
        "f1": _metric(MulticlassF1Score, num_classes, average="macro"),
        "ece": ExpectedCalibrationError(num_classes),
    }
    collection = selection_metrics(num_classes, prefix)
    collection.add_metrics(metrics)
    return collection


class Agreement(MulticlassAccuracy):
    """The share of inputs on which student and teacher predict the same class. Takes both logits (B, C)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="micro", validate_args=False)

    def update(self, student: Tensor, teacher: Tensor) -> None:
        super().update(student, teacher.argmax(dim=1))


def _metric(kind: type[Metric], num_classes: int, **options: Any) -> Metric:
    # Lightning's checks of the values ask the device for numbers in every step; labels are checked with the data.
    return kind(num_classes=num_classes, validate_args=False, **options)
