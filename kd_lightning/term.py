"""A term: a loss, the signals that it takes, its weight, and what each sample counts."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import sum_per_sample
from kd_lightning.losses.per_sample import counted, has_values, values
from kd_lightning.losses.sample_weights import (
    SampleWeight,
    Signals,
    full_precision,
    named,
    renamed,
    signals_of,
    unknown,
    weights_of,
)
from kd_lightning.models.dry_run import evaluating
from kd_lightning.schedules.numbers import numbers_at, scheduled
from kd_lightning.schedules.progress import BEGIN, Progress, Schedule
from kd_lightning.signals import LENGTHS, PEERS, has_rows, read

Shape = tuple[int, ...]
Projector = Callable[[Shape, Shape], nn.Module]


class Evaluated(NamedTuple):
    """A term's unweighted value, and how many samples it is the mean of, (): None where it is no mean over samples."""

    value: Tensor
    samples: Tensor | None


@runtime_checkable
class Buildable(Protocol):
    """A loss with parts whose size depends on the signals; examples of these come as `forward` takes them."""

    def build(self, *examples: Any) -> None: ...


class Term(nn.Module):
    """A loss, the names of the signals it takes, a weight, and where needed a projector between two shapes.

    Its value is the mean of l_i over the samples, or of w_i·l_i with sample weights: Σ w_i·l_i / N over the N samples
    that count, as Su et al. 2023, arXiv:2311.13621, weigh distillation. No gradient goes through w_i. Where a task has
    a row of classes for each token or pixel, the mean is over the rows that count, each with its sample's weight.

    Args:
        loss: takes the signals in the order of their names and returns a scalar, or each sample's value (B,), whose
            mean is taken; one that takes `reduction` is asked for `none` where there are sample weights.
        signals: names such as `student.logits`, `teacher.stage2`, `target`; a list among them stands for a list of
            tensors (a layer each), `student.stages` for all stages of that network, `student.last_stage` for the last.
        weight: a number, or a schedule of the training's progress.
        projector: makes the module that takes the first signal to the second one's shape, from these two shapes
            without the batch dimension; of two lists, one module for each pair, of one signal and a list one for each.
        sample_weight: what each sample counts: the name of a signal (B,), or a function that takes the mapping of all
            signals and returns (B,), such as `losses.sample_weights.Entropy()`. A function that takes signals which no
            term takes names them in an attribute `signals`.
        stream: of several streams of training data, as `{labelled: loader, unlabelled: loader}` gives them, the one
            whose signals it takes; None is the main one, the first with targets.

    A loss gets its signals contiguous, unless its attribute `any_memory_format` says that it takes maps as they lie in
    memory, (B, H, W, C) perhaps. One that is `Buildable` sees examples of its signals before the first step, after the
    projector.
    A number of the loss or of the sample weights may be a schedule, such as `SoftTarget(temperature=Linear(8, 1))`: its
    attribute is the number of the moment while they compute. Each is a pure function of the training's progress.
    `progress.epoch` and `progress.fraction` are signals too, 0-d and on the CPU. The loss and its parts compute in
    float32 under any precision; a projector computes as the networks do.

    Raises UserError for what is no loss, no list of names, or no sample weight.

    Examples:
        >>> import torch
        >>> from kd_lightning import Term
        >>> from kd_lightning.losses import SoftTarget
        >>> from kd_lightning.losses.sample_weights import Confidence
        >>> signals = {"student.logits": torch.randn(8, 10), "teacher.logits": torch.randn(8, 10)}
        >>> term = Term(SoftTarget(temperature=4), list(signals), weight=0.9)
        >>> term(signals).shape  # the mean over the samples, before its weight
        torch.Size([])
        >>> less = Term(SoftTarget(temperature=4), list(signals), sample_weight=Confidence("teacher.logits"))
        >>> bool(less(signals) < term(signals))  # confidences are below 1
        True
    """

    def __init__(
        self,
        loss: nn.Module,
        signals: Sequence[str | Sequence[str]],
        weight: float | Schedule = 1.0,
        projector: Projector | None = None,
        sample_weight: SampleWeight | None = None,
        stream: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(loss, nn.Module):
            raise UserError(
                f"loss={type(loss).__name__}: must be a torch.nn.Module that takes tensors and gives a scalar"
            )
        if not isinstance(signals, Sequence) or isinstance(signals, str):
            raise UserError(f"signals={signals}: must be a list of the names of signals")
        check_takes(loss, len(signals))
        if not (sample_weight is None or isinstance(sample_weight, str) or callable(sample_weight)):
            raise UserError(f"sample_weight={sample_weight}: must be the name of a signal, or a function of signals")
        if not (stream is None or (isinstance(stream, str) and stream)):
            raise UserError(f"stream={stream}: must be the name of a stream of training data, or None for the main one")
        self.loss = loss
        self.stream = stream
        self.signals: list[str | list[str]] = [name if isinstance(name, str) else list(name) for name in signals]
        self.weight = weight
        self.projector = projector
        self.projections = nn.ModuleList()
        self.sample_weight = sample_weight
        self._find_schedules()

    def names(self) -> Iterator[str]:
        """The names of all signals taken."""
        yield from (name for _, name in self.named_signals())

    def named_signals(self) -> Iterator[tuple[str, str]]:
        """The names of all signals taken, each behind the argument that takes it."""
        for name in self.signals:
            yield from (("signals", one) for one in _as_list(name))
        yield from (("sample_weight", one) for one in signals_of(self.sample_weight))
        for schedule in self.schedules():
            observed = getattr(schedule, "observes", {}).values()
            yield from (("schedule", one) for function in observed for one in signals_of(function))

    def as_typed(self, signal: str) -> str:
        """A signal that it takes by the name that it was given for it."""
        return signal

    def check_sample_weight(self) -> None:
        """Raise `UserError` for sample weights of a loss that has no value of one sample."""
        if self.sample_weight is not None and has_values(self.loss) is False:
            raise UserError(
                f"sample_weight={named(self.sample_weight)}: {type(self.loss).__name__} compares the samples of a "
                "batch and has no value of one sample; leave sample_weight out, or give it to a term that is a mean "
                "over samples, such as kd"
            )

    @property
    def is_taught(self) -> bool:
        """Whether a network learns by it from what networks answer, itself or its peers, and not from labels alone.

        So it is where its loss says `teaches_itself = True`, where it takes a signal without gradient or one of peers,
        and where it compares what a network makes of several views or inputs.
        """
        taken = [signal for signal in map(read, self.names()) if signal is not None]
        inputs: dict[str, set[str]] = {}
        for one in taken:
            inputs.setdefault(one.source, set()).add(one.input)
        return (
            getattr(self.loss, "teaches_itself", False)
            or any(one.is_detached or one.source == PEERS for one in taken)
            or any(len(several) > 1 for several in inputs.values())
        )

    def unbuilt(self) -> "Term":
        """A term of its own for another training: with the same loss, or a copy of one that learns or sees others."""
        term = copy.copy(self)
        is_trained = isinstance(self.loss, Buildable) or next(self.loss.parameters(), None) is not None
        is_own = is_trained or getattr(self.loss, "needs_training_labels", False) or hasattr(self.loss, "see_peers")
        loss = copy.deepcopy(self.loss) if is_own else self.loss
        term._modules = {**self._modules, "loss": loss, "projections": nn.ModuleList()}
        if isinstance(self.sample_weight, nn.Module):
            term.sample_weight = copy.deepcopy(self.sample_weight)
        term._find_schedules()
        return term

    @property
    def is_built_from_examples(self) -> bool:
        """Whether it needs to see examples of its signals before the first step."""
        return self.projector is not None or isinstance(self.loss, Buildable)

    def expand(self, names: Mapping[str, str | list[str]]) -> None:
        """Replace names that stand for other names: `student.last_stage` for one, `student.stages` for a list."""

        def expanded(name: str | list[str]) -> str | list[str]:
            if isinstance(name, str):
                return names.get(name, name)
            return [one for part in name for one in _as_list(names.get(part, part))]

        self.signals = [expanded(name) for name in self.signals]
        if isinstance(self.sample_weight, str):
            self.sample_weight = renamed(self.sample_weight, names)

    def build(self, examples: Signals) -> None:
        """Make the projections, and the loss's own parts, from the signals of one dry run."""
        values = [_pick(examples, name) for name in self.signals]
        if self.projector is not None:
            first, second = _as_list(values[0]), _as_list(values[1])
            first = first * len(second) if isinstance(values[0], Tensor) else first
            pairs = zip(first, second, strict=True)
            self.projections = nn.ModuleList(self.projector(_shape(source), _shape(to)) for source, to in pairs)
        if isinstance(self.loss, Buildable):
            with torch.no_grad(), evaluating(self.projections), self.numbers_at(BEGIN):
                self.loss.build(*self._projected(values))
            self._find_schedules()

    def _find_schedules(self) -> None:
        self._scheduled = {"": scheduled(self.loss), "sample_weight_": scheduled(self.sample_weight)}

    def weight_at(self, progress: Progress) -> float:
        return self.weight(progress) if callable(self.weight) else self.weight

    def scheduled_numbers(self, progress: Progress) -> dict[str, float]:
        """By name, the numbers that follow a schedule: `weight`, and those of the loss, such as `temperature`."""
        found: dict[str, float] = {"weight": self.weight_at(progress)} if callable(self.weight) else {}
        for prefix, one in ((prefix, one) for prefix, each in self._scheduled.items() for one in each):
            value = one.at(progress)
            numbers = {str(place): part for place, part in enumerate(value)} if isinstance(value, list) else {"": value}
            found |= {f"{prefix}{one.name}{place}": number for place, number in numbers.items()}
        return found

    def schedules(self) -> list[Callable[[Progress], float]]:
        """All schedules that it follows."""
        of_numbers = [schedule for each in self._scheduled.values() for one in each for schedule in one.schedules()]
        return [*([self.weight] if callable(self.weight) else []), *of_numbers]

    def numbers_at(self, progress: Progress) -> AbstractContextManager[None]:
        """Within, the numbers of the loss and of the sample weights that are schedules are those of this moment."""
        return numbers_at([one for each in self._scheduled.values() for one in each], progress)

    def forward(self, signals: Signals, progress: Progress = BEGIN) -> Tensor:
        """The unweighted loss, a scalar."""
        return self.evaluate(signals, progress).value

    def evaluate(self, signals: Signals, progress: Progress, counts: bool = False) -> Evaluated:
        """The unweighted loss, a scalar; if `counts`, with the number of samples that it is the mean of.

        Raises `UserError` for a signal that nobody gives, and for values or sample weights of another shape.
        """
        given = self._projected([_pick(signals, name) for name in self.signals])
        device = next(iter(signals.values())).device
        with torch.autocast(device.type, enabled=False), self.numbers_at(progress):
            taken = [self._as_taken(value) for value in given]
            value: Tensor = self.loss(*taken) if self.sample_weight is None else values(self.loss, *taken)
            is_mean = value.ndim > 0 or bool(has_values(self.loss))
            counting = counted(self.loss, *taken) if value.ndim or (counts and is_mean) else None
            if value.ndim or self.sample_weight is not None:
                self._check_values(value, taken)
                value = self._mean(value, counting, signals)
        if not (counts and is_mean):
            return Evaluated(value, None)
        samples = len(_as_list(taken[0])[0])
        return Evaluated(value, torch.full((), samples, device=device) if counting is None else counting.sum())

    def _check_values(self, value: Tensor, taken: list[Tensor | list[Tensor]]) -> None:
        """UserError for what is neither a scalar nor (B,); with sample weights for a scalar, too."""
        sizes = {len(one) for each in taken for one in _as_list(each) if one.ndim}
        if value.ndim == 1 and len(value) in sizes:
            return
        name = type(self.loss).__name__
        if value.ndim:
            raise UserError(
                f"loss={name}: gives a tensor of shape {tuple(value.shape)}; let it give a scalar, such as the mean, "
                "or a value for each sample, (B,)"
            )
        raise UserError(
            f"sample_weight={named(self.sample_weight)}: {name} gives one value for the batch; let it give a value "
            "for each sample, (B,), or leave sample_weight out"
        )

    def _mean(self, values: Tensor, counting: Tensor | None, signals: Signals) -> Tensor:
        """The mean of values (B,), each times its weight."""
        if self.sample_weight is None:
            return sum_per_sample(values, counting)
        of_rows = any(has_rows(name) for signal in self.signals for name in _as_list(signal))
        weights = weights_of(self.sample_weight, signals, values, signals.get(LENGTHS) if of_rows else None)
        if counting is not None:
            weights = torch.where(counting, weights, 0.0)
        return sum_per_sample(weights * values, counting)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moved and converted like any module, but the loss's own parts stay in full precision."""
        for part in self.children():
            precise = part is not self.projections
            part._apply((lambda value: _as_precise(fn(value), value)) if precise else fn, recurse)
        return self

    def _as_taken(self, value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """In full precision; and contiguous unless the loss takes others, for it may `view` a map."""
        values = [full_precision(one) for one in _as_list(value)]
        if not getattr(self.loss, "any_memory_format", False):
            values = [one.contiguous() for one in values]
        return values[0] if isinstance(value, Tensor) else values

    def _projected(self, values: list[Tensor | list[Tensor]]) -> list[Tensor | list[Tensor]]:
        """The values, the first of them through the projections."""
        if not len(self.projections):
            return values
        first = _as_list(values[0])
        first = first * len(self.projections) if isinstance(values[0], Tensor) else first
        projected = [project(x) for project, x in zip(self.projections, first, strict=True)]
        is_one = isinstance(values[0], Tensor) and isinstance(values[1], Tensor)
        return [projected[0] if is_one else projected, *values[1:]]


def check_takes(loss: nn.Module, signals: int) -> None:
    """UserError for a loss that does not take so many signals."""
    takes = inspect.signature(loss.forward)
    parameters = [one for name, one in takes.parameters.items() if name != "reduction"]  # which the term gives
    try:
        takes.replace(parameters=parameters).bind(*range(signals))
    except TypeError:
        names = ", ".join(one.name for one in parameters)
        raise UserError(f"signals={signals} names: {type(loss).__name__} takes ({names}), one name for each") from None


def _shape(value: Tensor) -> Shape:
    return tuple(value.shape[1:])


def _as_list(value):  # type: ignore[no-untyped-def]
    return value if isinstance(value, list) else [value]


def _pick(signals: Signals, name: str | list[str]) -> Tensor | list[Tensor]:
    try:
        return signals[name] if isinstance(name, str) else [signals[one] for one in name]
    except KeyError as missing:
        raise unknown(missing.args[0], signals, "signals") from None


def _as_precise(converted: Tensor, value: Tensor) -> Tensor:
    """A tensor after a conversion; one that this would have made half-precision only where it was moved to."""
    is_half = converted.dtype in (torch.float16, torch.bfloat16)
    return value.to(converted.device) if is_half else converted
