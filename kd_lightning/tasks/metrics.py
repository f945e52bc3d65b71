"""What a classifier is measured by; all but NLL are fractions in [0, 1]."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from kd_lightning.errors import UserError
from kd_lightning.finite import is_wrong
from kd_lightning.losses.functional.samples import has_label


def labelled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and target (N,) of the samples that have a label, which -1 and -100 are not."""
    rows = has_label(target)
    return logits[rows], target[rows].long()


def check_classified(
    logits: Tensor, target: Tensor | None, num_classes: int | None, role: str, mixed: bool = False
) -> None:
    """UserError unless these are what a classifier is measured by: logits (N, C) and class indices (N,).

    With `mixed`, as in training, the target may be probabilities (N, C) too.
    """
    if logits.ndim != 2:
        raise UserError(
            f"{role}.logits={tuple(logits.shape)}: a classifier is measured by logits (N, C), one row for each sample; "
            "validate and test without targets, or take a network that classifies"
        )
    if num_classes is not None and logits.shape[1] != num_classes:
        raise UserError(f"num_classes={num_classes}: the {role} gives {logits.shape[1]} logits; give that number")
    if target is None or (mixed and target.is_floating_point() and target.shape == logits.shape):
        return
    if target.is_floating_point() or target.shape != logits.shape[:1]:
        kind = str(target.dtype).removeprefix("torch.")
        raise UserError(
            f"target={kind} {tuple(target.shape)}: a classifier is measured by class indices ({len(logits)},), whole "
            "numbers; give these, or batches without targets"
        )


class MeanOverSamples(Metric):
    """A sum over samples divided by their number. A subclass adds to `total` and `count` in `update`."""

    # Not a MeanMetric, which leaves out what is not a number: a network that diverged would look better than it is.
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        return self.total / self.count


class NegativeLogLikelihood(MeanOverSamples):
    """Mean of -log softmax(logits)[target]. Takes logits (B, C) and target (B,)."""

    def update(self, logits: Tensor, target: Tensor) -> None:
        counted = has_label(target)
        ignored = torch.where(counted, target.long(), -100)
        self.total += F.cross_entropy(logits.float(), ignored, ignore_index=-100, reduction="sum")
        self.count += counted.sum()


class TopKAccuracy(Metric):
    """The share of samples whose class is among the k highest logits. Takes logits (B, C) and target (B,)."""

    # torchmetrics' own, for k above 1, makes several (B, C) of whole numbers in each step.
    full_state_update = False
    hits: Tensor
    count: Tensor

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        self.hits += (logits.topk(self.k, dim=1).indices == target[:, None]).sum()
        self.count += len(target)

    def compute(self) -> Tensor:
        return self.hits / self.count


class ClassAccuracy(Metric):
    """Each class's accuracy, as `top1` (C,): NaN of a class that no sample has. Takes logits (B, C) and target (B,)."""

    full_state_update = False
    right: Tensor
    actual: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("right", "actual"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        self.right.index_add_(0, target, (logits.argmax(dim=1) == target).long())
        self.actual.index_add_(0, target, torch.ones_like(target))

    def compute(self) -> Any:
        return {"top1": self.right / self.actual}


class BalancedAccuracy(ClassAccuracy):
    """The mean of the accuracies of the classes that occur (Brodersen et al. 2010, doi:10.1109/ICPR.2010.764).

    Takes logits (B, C) and target (B,). Each class counts alike, however many samples it has.
    """

    def compute(self) -> Tensor:
        return torch.nanmean(self.right / self.actual)


class MacroScore(Metric):
    """Precision, recall or F1, their mean over the classes that occur. Takes logits (B, C) and target (B,).

    A class occurs that a sample has, or is taken for. One with no such ratio, such as the precision of a class that is
    never predicted, counts as 0.
    """

    # torchmetrics' own make a confusion matrix (C, C) of whole numbers in each step.
    full_state_update = False
    right: Tensor
    predicted: Tensor
    actual: Tensor

    def __init__(self, num_classes: int, score: Literal["precision", "recall", "f1"]) -> None:
        super().__init__()
        self.score = score
        for name in ("right", "predicted", "actual"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        predicted, ones = logits.argmax(dim=1), torch.ones_like(target)
        self.right.index_add_(0, target, (predicted == target).long())
        self.predicted.index_add_(0, predicted, ones)
        self.actual.index_add_(0, target, ones)

    def compute(self) -> Tensor:
        right, both = self.right, self.predicted + self.actual
        of = {"precision": self.predicted, "recall": self.actual, "f1": both / 2}[self.score]
        scores = torch.where(of > 0, right / of.clamp(min=0.5), 0.0)
        return (scores / (both > 0).sum().clamp(min=1)).sum()


def counted_wrong(logits: Tensor, target: Tensor, wrong: Tensor) -> Tensor:
    """Logits (B, C) in which the rows `wrong` (B,) give the target's class (B,) a probability of 0.

    The arg max of a row with NaN would be class 0, which may be right.
    """
    missed = torch.zeros_like(logits).scatter(1, target.long().clamp(min=0)[:, None], -torch.inf)
    return torch.where(wrong[:, None], missed, logits)


class ExpectedCalibrationError(MulticlassCalibrationError):
    """Expected calibration error, 15 equal bins, L1 (Guo et al. 2017, arXiv:1706.04599). Takes logits and target."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, n_bins=15, norm="l1", validate_args=False)

    def update(self, logits: Tensor, target: Tensor) -> None:
        # torchmetrics would count a probability of exactly 1 in a sixteenth bin.
        below_one = 1 - torch.finfo(torch.float32).eps / 2
        super().update(logits.float().softmax(dim=1).clamp(max=below_one), target)
        for each in (self.confidences, self.accuracies):
            assert isinstance(each, list)
            join_equals(each)


def ratio_of_two_largest(logits: Tensor) -> Tensor:
    """P_1 / P_2 of each sample's largest two logits as they are, (N,); NaN where the second is not above 0.

    Of a teacher their mean is R12, which predicts its students: the smaller, the better (arXiv:2605.15689). A ratio of
    raw numbers says nothing once one of them is not positive, and changes where a constant is added to all of them.
    Takes logits (N, C).
    """
    if logits.shape[1] < 2:
        return torch.full_like(logits[:, 0], torch.nan)
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return torch.where(second > 0, first / second, torch.nan)


def join_equals(parts: list[Tensor]) -> None:
    """Join the latest of a metric's parts (N,), one for each batch, so that few are held, in the same order.

    A small tensor that stays, made among a batch's logits, keeps the allocator from using their place again.
    """
    while len(parts) > 1 and len(parts[-1]) >= len(parts[-2]):
        parts[-2:] = [torch.cat(parts[-2:])]


class Agreement(MulticlassAccuracy):
    """The share of inputs on which student and teacher predict the same class. Takes both logits (B, C)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="micro", validate_args=False)

    def update(self, student: Tensor, teacher: Tensor) -> None:
        predicted = teacher.argmax(dim=1)
        super().update(counted_wrong(student, predicted, is_wrong(student) | is_wrong(teacher)), predicted)
