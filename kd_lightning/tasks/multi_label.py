"""Multi-label classification: each sample has any number of C classes."""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MultilabelAveragePrecision
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.batch import Batch
from kd_lightning.columns import Column
from kd_lightning.errors import UserError
from kd_lightning.losses import BinaryCrossEntropy, functional
from kd_lightning.losses.functional.logits.multi_label import check_multi_hot
from kd_lightning.losses.functional.samples import has_label
from kd_lightning.tasks.classes import TaskOfClasses, bars_by_class
from kd_lightning.tasks.metrics import MeanOverSamples
from kd_lightning.tasks.regression import columns_of
from kd_lightning.tasks.task import AGREEMENT, Arrays, Stage


class MultiLabel(TaskOfClasses):
    """Logits (B, C) against 0 and 1 for each class (B, C); -1 and -100 stand for a class without a label.

    Args:
        num_classes: C; None takes it from the data.
        selects_on: the column that chooses the best epoch and a sweep's best: `map` or `bce`.

    >>> import torch
    >>> from kd_lightning.tasks import MultiLabel
    >>> logits, target = torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([[1, 0], [0, 1]])
    >>> MultiLabel(2).metrics("val")(logits, target)["map"].item()
    1.0
    """

    columns = (
        Column("map", "mean average precision", ".2%"),
        Column("bce", "binary cross-entropy", ".3f", higher_is_better=False, in_sweeps=False),
        Column(AGREEMENT, "agreement with teacher", ".2%", in_sweeps=False),
    )
    supervised = "bce"
    arrays = ("average_precision",)
    outputs = "labels"
    losses = "bce, bernoulli_kd"

    def classes_of(self, data: Any) -> int:
        return columns_of(data) or super().classes_of(data)

    def metrics(self, stage: Stage) -> MetricCollection:
        if self.num_classes is None:
            return MetricCollection({"bce": MeanBinaryCrossEntropy()})
        return MetricCollection({"map": MeanAveragePrecision(self.num_classes), "bce": MeanBinaryCrossEntropy()})

    def _selecting(self) -> str:
        known = copy.copy(self)
        known.num_classes = self.num_classes or 2  # as the data will tell
        return super(MultiLabel, known)._selecting()

    def loss(self) -> nn.Module:
        return BinaryCrossEntropy()

    def agreement(self) -> Metric | None:
        return LabelAgreement()

    def predictions(self) -> Metric | None:
        return None if self.num_classes is None else AveragePrecisions(self.num_classes)

    def by_class(self) -> Metric | None:
        return self.predictions()

    def constants(self, data: Any) -> Arrays:
        names = getattr(data, "class_names", None)
        if names is None:
            return {}
        return {"class_names": np.array(names, dtype=str)}

    def figures(self, arrays: Mapping[str, Arrays]) -> Mapping[str, Mapping[str, Any]]:
        return bars_by_class(arrays, "average_precision", "average precision")

    def check_batch(self, batch: Batch) -> None:
        target = batch.get("target")
        if target is None:
            return
        if not isinstance(target, Tensor):
            raise UserError(f"target of type {type(target).__name__}: give a tensor of 0 and 1 (B, C)")
        if target.device.type != "cpu" or not target.numel():
            return
        wrong = has_label(target) & ~((target >= 0) & (target <= 1))
        if bool(wrong.any()):
            raise UserError(
                f"target={target[wrong][0].item():g}: each class is 0 or 1; -1 and -100 stand for one without a label"
            )

    def check_step(self, role: str, outputs: Tensor, target: Tensor | None, training: bool) -> None:
        shape = tuple(outputs.shape)
        if outputs.ndim != 2 or (self.num_classes is not None and shape[1] != self.num_classes):
            wanted = "C" if self.num_classes is None else self.num_classes
            raise UserError(f"{role}.logits={shape}: several labels have logits (B, {wanted}), one for each class")
        if target is not None:
            try:
                check_multi_hot(outputs, target)
            except ValueError as error:
                raise UserError(f"target={tuple(target.shape)}: {error}") from error

    def counted(self, outputs: Tensor, target: Tensor, wrong: Tensor) -> Tensor:
        return torch.where(wrong[:, None], torch.where(target > 0, -torch.inf, torch.inf), outputs)

    def blank_target(self, outputs: Tensor) -> Tensor:
        return torch.zeros_like(outputs)

    def of_data(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}


class AveragePrecisions(MultilabelAveragePrecision):
    """Each class's average precision, as `average_precision` (C,): NaN of a class that no sample has."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None, ignore_index=-1, validate_args=False)

    def update(self, logits: Tensor, target: Tensor) -> None:
        precise = logits.float() if logits.device.type == "mps" else logits.double()  # sure logits are told apart
        super().update(precise.sigmoid(), torch.where(has_label(target), (target > 0.5).long(), -1))

    def by_class(self) -> Tensor:
        """(C,)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about classes that no sample has
            found: Tensor = super().compute()
        return torch.where((dim_zero_cat(self.target) == 1).any(dim=0), found, torch.nan)

    def compute(self) -> Any:
        return {"average_precision": self.by_class()}


class MeanAveragePrecision(AveragePrecisions):
    """The mean of the classes' average precisions, over those that a sample has. Takes logits (B, C) and target."""

    higher_is_better = True

    def compute(self) -> Any:
        return self.by_class().nanmean().float()


class MeanBinaryCrossEntropy(MeanOverSamples):
    """Mean binary cross-entropy, see `functional.bce`. Takes logits (B, C) and target (B, C)."""

    higher_is_better = False

    def update(self, logits: Tensor, target: Tensor) -> None:
        self.total += functional.bce(logits.float(), target, reduction="none").sum()
        self.count += has_label(target).any(dim=1).sum()


class LabelAgreement(Metric):
    """The share of decisions, a yes or a no for each sample and class, that two networks share. Takes both logits."""

    full_state_update = False
    equal: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("equal", "count"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, others: Tensor) -> None:
        comparable = ~(logits.isnan() | others.isnan())
        self.equal += (((logits > 0) == (others > 0)) & comparable).sum()
        self.count += logits.numel()

    def compute(self) -> Tensor:
        return self.equal / self.count
