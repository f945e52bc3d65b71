"""Numbers that change with training progress, such as a term's weight or a temperature."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from kd_lightning.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-9  # an epoch's first step must not count as the last of the one before


class Assessment(NamedTuple):
    """What the latest validation of a training with a curriculum, or with schedules, measured.

    `metrics` are the task's by name, such as `top1`; `by_class` has a number for each class, of the metrics that a task
    measures by class, where there is a curriculum; `by_concept` is each concept's accuracy, where a curriculum has
    concepts, NaN of one without samples. `epoch` is the one in which it was measured; the metrics that are better when
    they fall are `falling`, the one that selects is `selects_on`.

    Schedules see besides: the `metrics` of the validations before, as `earlier`; the metrics of the sources that they
    compare with, as `by_source`; and what they observe of the samples taught since the validation before, as
    `observed`.

    Examples:
        >>> from kd_lightning.schedules import Assessment
        >>> Assessment(epoch=3, metrics={"top1": 0.75}, by_class={"top1": [0.5, 1.0]}).by_class["top1"][0]
        0.5
    """

    epoch: int
    metrics: Mapping[str, float]
    by_class: Mapping[str, Sequence[float]] = {}
    by_concept: Mapping[str, float] = {}
    falling: Sequence[str] = ()
    selects_on: str = ""
    earlier: Sequence[Mapping[str, float]] = ()
    by_source: Mapping[str, Mapping[str, float]] = {}
    observed: Mapping[str, float] = {}

    def seen_by(self, learner: str) -> "Assessment":
        """The same as one of several learners has it: what is its own, `NAME/top1`, it has as `top1`, too."""
        start = f"{learner}/"

        def own(values: Mapping[str, float]) -> dict[str, float]:
            return {**values, **{name.removeprefix(start): values[name] for name in values if name.startswith(start)}}

        earlier = [own(metrics) for metrics in self.earlier]
        return self._replace(metrics=own(self.metrics), earlier=earlier, observed=own(self.observed))


@dataclass(frozen=True)
class Progress:
    """How far the training is. `epoch` counts from 0 and has a fraction within the epoch.

    `assessment` is what its latest validation measured; None before the first one. `epochs` are those that the whole
    training begins; infinite where nobody knows.

    Examples:
        >>> from kd_lightning.schedules import Progress
        >>> Progress(epoch=2.5, fraction=0.25).epoch  # in the middle of the third of ten epochs
        2.5
    """

    epoch: float = 0.0
    fraction: float = 0.0
    assessment: Assessment | None = None
    epochs: float = field(default=math.inf, compare=False)


BEGIN, END = Progress(), Progress(epoch=math.inf, fraction=1.0)


class Schedule(ABC):
    """A number for each moment of the training: a pure function of the progress. One of your own is a subclass.

    Of the progress it may take the assessment, what the latest validation measured, which is None before the first one;
    `extremes` then tells between which numbers it stays. `compares` and `observes` add to what is measured.

    Examples:
        >>> from kd_lightning.schedules import Progress, Schedule
        >>> class Square(Schedule):
        ...     def __call__(self, progress: Progress) -> float:
        ...         return progress.fraction**2
        >>> Square()(Progress(epoch=5.0, fraction=0.5))
        0.25
    """

    @abstractmethod
    def __call__(self, progress: Progress) -> float: ...

    def extremes(self) -> Iterable[float]:
        """Numbers that it takes and between which it stays: what is checked before the training."""
        return [self(BEGIN), self(END)]

    def is_whole(self) -> bool:
        """Whether it takes whole numbers alone."""
        return False

    @property
    def compares(self) -> Sequence[str]:
        """The sources, such as `teacher`, whose metrics on the validation data assessments have as `by_source`."""
        return ()

    @property
    def observes(self) -> "Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]]":
        """Functions of a step's signals by name, whose means over the samples taught assessments have as `observed`.

        Each gives (B,), of the signals that its attribute `signals` names.
        """
        return {}


Number = float | Schedule


def extremes(value: Any) -> Iterable[Any]:
    """What must be allowed of a number, itself, or of a schedule."""
    return value.extremes() if isinstance(value, Schedule) else [value]


def needs_length(schedule: Any) -> bool:
    """Whether a schedule asks which share of the training is over."""
    try:
        schedule(_WithoutLength())
    except _FractionAskedError:
        return True
    return False


def asks_for_assessment(schedule: Any) -> bool:
    """Whether a schedule follows what validations measure."""
    try:
        for progress in (_WithoutAssessment(), _WithoutAssessment(epoch=1.0, fraction=0.5)):
            schedule(progress)
    except _AssessmentAskedError:
        return True
    return False


class _FractionAskedError(Exception):
    pass


class _AssessmentAskedError(Exception):
    pass


class _WithoutAssessment:
    """A progress that tells who asks for an assessment."""

    def __init__(self, epoch: float = 0.0, fraction: float = 0.0) -> None:
        self.epoch, self.fraction, self.epochs = epoch, fraction, math.inf

    @property
    def assessment(self) -> Any:
        raise _AssessmentAskedError


class _WithoutLength:
    """The progress of a training without a length."""

    epoch = 0.0
    assessment = None

    @property
    def fraction(self) -> float:
        raise _FractionAskedError

    @property
    def epochs(self) -> float:
        raise _FractionAskedError


@dataclass(frozen=True)
class Warmup(Schedule):
    """Rises to `value` over the first epochs: value·min(1, e/epochs) in epoch e = 1, 2, …, as in mdistiller.

    Without `epochs` it rises over the whole training, and is `value` in the last epoch alone.

    Examples:
        >>> from kd_lightning.schedules import Progress, Warmup
        >>> warmup = Warmup(value=1.0, epochs=4)
        >>> [warmup(Progress(epoch=epoch)) for epoch in (0, 1, 3, 9)]
        [0.25, 0.5, 1.0, 1.0]
    """

    value: float
    epochs: float | None = None

    def __post_init__(self) -> None:
        check_numbers(value=self.value)
        if self.epochs is not None and not self.epochs > 0:
            raise UserError(f"epochs={self.epochs}: a warm-up lasts longer than 0 epochs; give a plain number instead")

    def __call__(self, progress: Progress) -> float:
        current = math.floor(progress.epoch + ROUNDING) + 1 if math.isfinite(progress.epoch) else math.inf
        epochs = progress.epochs if self.epochs is None else self.epochs
        return self.value * (current / epochs if current < epochs else 1.0)


@dataclass(frozen=True)
class Linear(Schedule):
    """Moves linearly from `start` to `end` over the whole training.

    Examples:
        >>> from kd_lightning.schedules import Linear, Progress
        >>> falling = Linear(start=8.0, end=1.0)
        >>> [falling(Progress(fraction=fraction)) for fraction in (0.0, 0.5, 1.0)]
        [8.0, 4.5, 1.0]
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        check_numbers(start=self.start, end=self.end)

    def __call__(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * min(1.0, progress.fraction)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `start` to `end` over the whole training: end + (start - end)·(1 + cos πf)/2.

    Examples:
        >>> from kd_lightning.schedules import Cosine, Progress
        >>> falling = Cosine(start=1.0, end=0.0)
        >>> [round(falling(Progress(fraction=fraction)), 3) for fraction in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        check_numbers(start=self.start, end=self.end)

    def __call__(self, progress: Progress) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * min(1.0, progress.fraction))) / 2


@dataclass(frozen=True)
class Steps(Schedule):
    """One value after the other: the first, and from each milestone on the next.

    Args:
        values: one more than there are milestones.
        epochs: the milestones, ascending, counted from 0: at 30 the 31st epoch is the first with the next value.
        fractions: the milestones as shares of the training instead, between 0 and 1.

    Examples:
        >>> from kd_lightning.schedules import Progress, Steps
        >>> falling = Steps(values=[8.0, 2.0], epochs=[20])
        >>> [falling(Progress(epoch=epoch)) for epoch in (0, 19.5, 20)]
        [8.0, 8.0, 2.0]
    """

    values: Sequence[float]
    epochs: Sequence[float] | None = None
    fractions: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("values", "epochs", "fractions"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, tuple(given))
                check_numbers(**{f"{name}.{place}": number for place, number in enumerate(given)})
        if (self.epochs is None) == (self.fractions is None):
            raise UserError(
                f"epochs={self.epochs}: give the milestones either as epochs or as fractions of the training"
            )
        name, milestones = self._milestones()
        limit = 1.0 if name == "fractions" else math.inf
        ascending = [0.0, *milestones, limit]
        if any(not before < after for before, after in pairwise(ascending)):
            raise UserError(f"{name}={[*milestones]}: must ascend between 0 and {limit:g}")
        if len(self.values) != len(milestones) + 1:
            raise UserError(
                f"values={[*self.values]}: {len(milestones)} milestones lie between {len(milestones) + 1} values; "
                "give one more value than milestones"
            )

    def _milestones(self) -> tuple[str, Sequence[float]]:
        return ("epochs", self.epochs) if self.epochs is not None else ("fractions", self.fractions or ())

    def __call__(self, progress: Progress) -> float:
        name, milestones = self._milestones()
        current = progress.epoch if name == "epochs" else progress.fraction
        return self.values[sum(current + ROUNDING >= milestone for milestone in milestones)]

    def extremes(self) -> Iterable[float]:
        return self.values

    def is_whole(self) -> bool:
        return all(float(value).is_integer() for value in self.values)


class OfAnother(Schedule):
    """What another schedule gives, changed; it follows what that follows."""

    schedule: Schedule

    @abstractmethod
    def changed(self, value: float) -> float:
        """What becomes of a number of the other schedule."""

    def __call__(self, progress: Progress) -> float:
        return self.changed(self.schedule(progress))

    def extremes(self) -> Iterable[float]:
        return [self.changed(value) for value in self.schedule.extremes()]

    @property
    def compares(self) -> Sequence[str]:
        return self.schedule.compares

    @property
    def observes(self) -> "Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]]":
        return self.schedule.observes


@dataclass(frozen=True)
class OneMinus(OfAnother):
    """1 - another schedule: the share of the labels where the other is that of the soft targets.

    Examples:
        >>> from kd_lightning.schedules import Linear, OneMinus, Progress
        >>> share = OneMinus(Linear(start=0.9, end=0.1))
        >>> round(share(Progress(fraction=0.0)), 3)
        0.1
    """

    schedule: Schedule

    def changed(self, value: float) -> float:
        return 1.0 - value


@dataclass(frozen=True)
class Times(OfAnother):
    """So many times another schedule.

    Examples:
        >>> from kd_lightning.schedules import Linear, Progress, Times
        >>> Times(Linear(start=0.0, end=1.0), factor=0.5)(Progress(fraction=0.5))
        0.25
    """

    schedule: Schedule
    factor: float

    def changed(self, value: float) -> float:
        return self.factor * value


def check_numbers(**values: float) -> None:
    """Raise `UserError` for what is no finite number."""
    for name, value in values.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise UserError(f"{name}={value}: must be a finite number")
