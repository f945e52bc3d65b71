"""Classification: each sample has one of C classes."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from kd_lightning.batch import Batch
from kd_lightning.columns import Column
from kd_lightning.losses import CrossEntropy
from kd_lightning.tasks.classes import TaskOfClasses
from kd_lightning.tasks.labels import check_labels
from kd_lightning.tasks.metrics import (
    Agreement,
    BalancedAccuracy,
    ClassAccuracy,
    ExpectedCalibrationError,
    MacroScore,
    NegativeLogLikelihood,
    TopKAccuracy,
    check_classified,
    counted_wrong,
    labelled,
)
from kd_lightning.tasks.predictions import ARRAYS, Predictions
from kd_lightning.tasks.task import AGREEMENT, Arrays, Stage

BALANCED_ACCURACY = "balanced_accuracy"
TOP = {"top1": 1, "top5": 5, BALANCED_ACCURACY: 1}


class Classification(TaskOfClasses):
    """Logits (B, C) against class indices (B,); all metrics but the NLL are fractions in [0, 1].

    Args:
        num_classes: C; None takes the data's. Where it stays unknown, cross-entropy alone is measured.
        selects_on: the column that chooses the best epoch and a sweep's best: `top1`, `balanced_accuracy`, `top5` or
            `nll`.

    A metric of one's own is a subclass with one more column:

    >>> from torchmetrics.classification import MulticlassJaccardIndex
    >>> from kd_lightning.tasks import Classification, Column
    >>> class WithOverlap(Classification):
    ...     columns = (*Classification.columns, Column("overlap", "mean Jaccard index", ".2%"))
    ...     def metrics(self, stage):
    ...         found = super().metrics(stage)
    ...         found.add_metrics({"overlap": MulticlassJaccardIndex(self.num_classes)})
    ...         return found
    >>> WithOverlap(4, selects_on="overlap").selects_on.title
    'mean Jaccard index %'
    """

    columns: Sequence[Column] = (
        Column("top1", "top-1", ".2%"),
        Column("top5", "top-5", ".2%", in_sweeps=False),
        Column(BALANCED_ACCURACY, "balanced accuracy", ".2%", in_sweeps=False),
        Column("precision", "precision", ".2%", in_sweeps=False),
        Column("recall", "recall", ".2%", in_sweeps=False),
        Column("f1", "F1", ".2%", in_sweeps=False),
        Column("nll", "NLL", ".3f", higher_is_better=False, in_sweeps=False),
        Column("ece", "calibration error", ".2%", higher_is_better=False, in_sweeps=False),
        Column(AGREEMENT, "agreement with teacher", ".2%", in_sweeps=False),
    )

    arrays: Sequence[str] = ARRAYS

    outputs = "classes"
    losses = "ce, kd"

    def metrics(self, stage: Stage) -> MetricCollection:
        classes = self.num_classes
        if classes is None:
            return MetricCollection({"nll": NegativeLogLikelihood()})
        found: dict[str, Metric | MetricCollection] = {
            # torchmetrics' checks of values ask the device for numbers in every step; labels are checked with the data.
            "top1": MulticlassAccuracy(classes, average="micro", validate_args=False),
            "top5": TopKAccuracy(min(5, classes)),
            "nll": NegativeLogLikelihood(),
        }
        if stage == "test" or self.selects_on.name == BALANCED_ACCURACY:
            found[BALANCED_ACCURACY] = BalancedAccuracy(classes)
        if stage == "test":
            found |= {
                "precision": MacroScore(classes, "precision"),
                "recall": MacroScore(classes, "recall"),
                "f1": MacroScore(classes, "f1"),
                "ece": ExpectedCalibrationError(classes),
            }
        return MetricCollection(found)

    def _selecting(self) -> str:
        known = copy.copy(self)
        known.num_classes = self.num_classes or 2  # as the data will tell
        by_name = {column.name: column for column in self.columns}
        known.selects_on = by_name.get(BALANCED_ACCURACY, self.selects_on)  # measured in validation where it selects
        return super(Classification, known)._selecting()

    @property
    def validated(self) -> list[Column]:
        """All but top-5, which says little beside top-1, unless it selects."""
        return [column for column in super().validated if column.name != "top5" or column == self.selects_on]

    def loss(self) -> nn.Module:
        return CrossEntropy()

    def agreement(self) -> Metric | None:
        return None if self.num_classes is None else Agreement(self.num_classes)

    def predictions(self) -> Metric | None:
        return None if self.num_classes is None else Predictions(self.num_classes)

    def by_class(self) -> Metric | None:
        return None if self.num_classes is None else ClassAccuracy(self.num_classes)

    def constants(self, data: Any) -> Arrays:
        names = data.class_names or [str(label) for label in range(self.num_classes or 0)]
        return {"class_names": np.array(names, dtype=str)}

    def check_batch(self, batch: Batch) -> None:
        if self.num_classes is not None:
            check_labels(batch, self.num_classes)

    def check_step(self, role: str, outputs: Tensor, target: Tensor | None, training: bool) -> None:
        if not (training and self.num_classes is None):
            check_classified(outputs, target, self.num_classes, role, mixed=training)

    def counted(self, outputs: Tensor, target: Tensor, wrong: Tensor) -> Tensor:
        return counted_wrong(outputs, target, wrong)

    def labelled(self, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return labelled(outputs, target)

    def chance(self) -> float | None:
        k = TOP.get(self.selects_on.name)
        return None if k is None or self.num_classes is None else min(k / self.num_classes, 1.0)

    def of_data(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}
