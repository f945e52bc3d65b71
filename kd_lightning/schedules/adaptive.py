"""Schedules that follow what validations measure: the student beside the teacher, what is taught, a plateau."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import Assessment, Progress, Schedule, check_numbers


@dataclass(frozen=True)
class NearTeacher(Schedule):
    """Moves from `start` to `end` as the student nears the teacher: start + (end - start)·r.

    r is the student's metric over the teacher's on the validation data, of a metric that falls the teacher's over the
    student's, from 0 to 1; 0 before the first validation. As alpha it hands the student over from the teacher's answers
    to the labels.

    Args:
        start: where the student knows nothing.
        end: where it is as good as the teacher.
        teacher: the source that it is compared with.
        metric: by which; None: the one that selects.

    Examples:
        >>> from kd_lightning.schedules import Assessment, NearTeacher, Progress
        >>> alpha = NearTeacher(start=0.9, end=0.1)
        >>> seen = Assessment(3, {"top1": 0.4}, selects_on="top1", by_source={"teacher": {"top1": 0.8}})
        >>> alpha(Progress()), round(alpha(Progress(assessment=seen)), 3)
        (0.9, 0.5)
    """

    start: float
    end: float
    teacher: str = "teacher"
    metric: str | None = None

    def __post_init__(self) -> None:
        check_numbers(start=self.start, end=self.end)

    @property
    def compares(self) -> Sequence[str]:
        return (self.teacher,)

    def __call__(self, progress: Progress) -> float:
        found = progress.assessment
        if found is None or self.teacher not in found.by_source:
            return self.start
        name = self.metric or found.selects_on
        own, theirs = measured(found.metrics, name), measured(found.by_source[self.teacher], name)
        small, large = (theirs, own) if name in found.falling else (own, theirs)
        ratio = small / large if large > 0 else float(small >= large)
        return self.start + (self.end - self.start) * (min(1.0, max(0.0, ratio)) if math.isfinite(ratio) else 0.0)

    def extremes(self) -> Iterable[float]:
        return self.start, self.end


@dataclass(frozen=True)
class ShareOfEntropy:
    """The entropy of softmax(z) over its largest, log C, of each sample, from 0 to 1; z is the signal `logits`."""

    logits: str

    @property
    def signals(self) -> list[str]:
        return [self.logits]

    def __call__(self, signals: Mapping[str, Tensor]) -> Tensor:
        log_p = F.log_softmax(signals[self.logits], dim=1)
        p = log_p.exp()
        return -(p * log_p).where(p > 0, 0.0).sum(dim=1) / math.log(max(2, p.shape[1]))


@dataclass(frozen=True)
class ByTeacherEntropy(Schedule):
    """Between `sure` and `unsure` by how unsure the teacher is of what is being taught: sure + (unsure - sure)·h.

    h is the mean entropy of the teacher's probabilities over log C, of the samples taught since the validation before;
    0 before the first one. As a temperature it softens answers where the teacher tells no class from the others, and
    leaves those that are soft already, so that it follows a curriculum from easy to hard.

    Args:
        sure: the value for a teacher that is sure of all samples.
        unsure: the value for one to whom all classes are alike.
        logits: the teacher's signal (B, C).

    Examples:
        >>> from kd_lightning.schedules import Assessment, ByTeacherEntropy, Progress
        >>> temperature = ByTeacherEntropy(sure=8.0, unsure=1.0)
        >>> seen = Assessment(0, {}, observed={"entropy of teacher.logits": 0.5})
        >>> temperature(Progress()), temperature(Progress(assessment=seen))
        (8.0, 4.5)
    """

    sure: float
    unsure: float
    logits: str = "teacher.logits"

    def __post_init__(self) -> None:
        check_numbers(sure=self.sure, unsure=self.unsure)

    @property
    def observes(self) -> Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]]:
        return {self._name: ShareOfEntropy(self.logits)}

    @property
    def _name(self) -> str:
        return f"entropy of {self.logits}"

    def __call__(self, progress: Progress) -> float:
        share = 0.0 if progress.assessment is None else progress.assessment.observed.get(self._name, 0.0)
        return self.sure + (self.unsure - self.sure) * min(1.0, max(0.0, share))

    def extremes(self) -> Iterable[float]:
        return self.sure, self.unsure


@dataclass(frozen=True)
class Plateau(Schedule):
    """Goes from `start` on times `factor`, as far as `end`, whenever a metric has not improved for long.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` counts it, of the validations so far: one that is better than the
    best by `threshold` begins anew, and so does a step.

    Args:
        start: the value before the first step.
        factor: above 0; below 1 the value falls, above 1 it rises.
        end: the value beyond which it does not go.
        patience: how many validations in a row may pass without improvement.
        threshold: by how much a better one is better, in the metric's own unit.
        metric: whose; None: the one that selects.

    Examples:
        >>> from kd_lightning.schedules import Assessment, Plateau, Progress
        >>> temperature = Plateau(start=8.0, factor=0.5, end=1.0, patience=0)
        >>> seen = Assessment(2, {"top1": 0.6}, selects_on="top1", earlier=[{"top1": 0.5}, {"top1": 0.7}])
        >>> temperature(Progress(assessment=seen))
        4.0
    """

    start: float
    factor: float
    end: float
    patience: int = 3
    threshold: float = 0.0
    metric: str | None = None

    def __post_init__(self) -> None:
        check_numbers(start=self.start, factor=self.factor, end=self.end, threshold=self.threshold)
        if not self.factor > 0 or self.factor == 1:
            raise UserError(f"factor={self.factor}: must be above 0, and not 1; 0.5 halves the value")
        if not (isinstance(self.patience, int) and self.patience >= 0):
            raise UserError(f"patience={self.patience}: must be a whole number, 0 or more")
        if not self.start > 0 or (self.end > self.start) != (self.factor > 1):
            raise UserError(
                f"end={self.end}: a value of {self.start} times {self.factor} again and again never comes there; give "
                "a start above 0, and an end on the way"
            )

    def __call__(self, progress: Progress) -> float:
        found = progress.assessment
        if found is None:
            return self.start
        try:
            value = self.start * self.factor ** self._steps(found)
        except OverflowError:  # of a factor above 1
            return self.end
        return max(value, self.end) if self.factor < 1 else min(value, self.end)

    def _steps(self, found: Assessment) -> int:
        name = self.metric or found.selects_on
        sign = -1 if name in found.falling else 1
        best, waited, steps = -math.inf, 0, 0
        for metrics in (*found.earlier, found.metrics):
            value = sign * measured(metrics, name)
            if value > best + self.threshold:
                best, waited = value, 0
            else:
                waited += 1
            if waited > self.patience:
                waited, steps = 0, steps + 1
        return steps

    def extremes(self) -> Iterable[float]:
        return self.start, self.end


def measured(metrics: Mapping[str, float], name: str) -> float:
    """A metric of a validation. Raises UserError for one that it does not measure."""
    if name not in metrics:
        raise UserError(f"metric={name}: validation measures no such metric; it measures {', '.join(metrics)}")
    return metrics[name]
