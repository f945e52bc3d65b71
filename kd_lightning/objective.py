"""What a run minimises: named terms over the signals of a training step."""

import copy
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.errors import UserError
from kd_lightning.schedules import Progress, Schedule
from kd_lightning.taps import evaluating

Signals = Mapping[str, Tensor]
Shape = tuple[int, ...]
Projector = Callable[[Shape, Shape], nn.Module]
OUT_OF_BOUNDS = re.compile(r"(Target|index) -?\d+ is out of bounds")  # what PyTorch says of a label on the CPU


@runtime_checkable
class Buildable(Protocol):
    """A loss with parts whose size depends on the signals; examples of these come as `forward` takes them."""

    def build(self, *examples: Any) -> None: ...


class Term(nn.Module):
    """A loss, the names of the signals it takes, a weight, and where needed a projector between two shapes.

    Args:
        loss: takes the signals in the order of their names and returns a scalar.
        signals: names such as `student.logits`, `teacher.stage2`, `target`; a list among them stands for a list of
            tensors (a layer each), `student.stages` for all stages of that network, `student.last_stage` for the last.
        weight: a number, or a schedule of the training's progress.
        projector: makes the module that takes the first signal to the second one's shape, from these two shapes
            without the batch dimension; of two lists, one module for each pair.

    A loss that is `Buildable` sees examples of its signals before the first step, after the projector.
    `progress.epoch` and `progress.fraction` are signals too, 0-d and on the CPU. The loss and its parts compute in
    float32 under any precision; a projector computes as the networks do.
    """

    def __init__(
        self,
        loss: nn.Module,
        signals: Sequence[str | Sequence[str]],
        weight: float | Schedule = 1.0,
        projector: Projector | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(loss, nn.Module):
            raise UserError(
                f"loss={type(loss).__name__}: must be a torch.nn.Module that takes tensors and gives a scalar"
            )
        if not isinstance(signals, Sequence) or isinstance(signals, str):
            raise UserError(f"signals={signals}: must be a list of names, as in [student.logits, teacher.logits]")
        check_takes(loss, len(signals))
        self.loss = loss
        self.signals: list[str | list[str]] = [name if isinstance(name, str) else list(name) for name in signals]
        self.weight = weight
        self.projector = projector
        self.projections = nn.ModuleList()

    def names(self) -> Iterator[str]:
        """The names of all signals taken."""
        for name in self.signals:
            yield from [name] if isinstance(name, str) else name

    def unfitted(self) -> "Term":
        """A term of its own for another pair of networks, with the same loss, or a copy of one that is trained."""
        term = copy.copy(self)
        is_trained = isinstance(self.loss, Buildable) or next(self.loss.parameters(), None) is not None
        loss = copy.deepcopy(self.loss) if is_trained else self.loss
        term._modules = {**self._modules, "loss": loss, "projections": nn.ModuleList()}
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

    def build(self, examples: Signals) -> None:
        """Make the projections, and the loss's own parts, from the signals of one dry run."""
        values = [_pick(examples, name) for name in self.signals]
        if self.projector is not None:
            pairs = zip(*(_as_list(value) for value in values[:2]), strict=True)
            self.projections = nn.ModuleList(self.projector(_shape(source), _shape(to)) for source, to in pairs)
        if isinstance(self.loss, Buildable):
            with torch.no_grad(), evaluating(self.projections):
                self.loss.build(*self._projected(values))

    def weight_at(self, progress: Progress) -> float:
        return self.weight(progress) if callable(self.weight) else self.weight

    def forward(self, signals: Signals) -> Tensor:
        """The unweighted loss, a scalar."""
        values = self._projected([_pick(signals, name) for name in self.signals])
        device = next(iter(signals.values())).device.type
        with torch.autocast(device, enabled=False):
            value: Tensor = self.loss(*(self._as_taken(value) for value in values))
        if value.ndim:
            raise UserError(
                f"loss={type(self.loss).__name__}: gives a tensor of shape {tuple(value.shape)}; let it give a scalar, "
                "such as the mean"
            )
        return value

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moved and converted like any module, but the loss's own parts stay in full precision."""
        self.loss._apply(lambda value: _as_precise(fn(value), value), recurse)
        self.projections._apply(fn, recurse)
        return self

    def _as_taken(self, value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """In full precision; and for losses from elsewhere, which may `view` a map, contiguous."""
        values = [_full_precision(one) for one in _as_list(value)]
        if not type(self.loss).__module__.startswith("kd_lightning."):
            values = [one.contiguous() for one in values]
        return values[0] if isinstance(value, Tensor) else values

    def _projected(self, values: list[Tensor | list[Tensor]]) -> list[Tensor | list[Tensor]]:
        """The values, the first of them through the projections."""
        if not len(self.projections):
            return values
        projected = [project(x) for project, x in zip(self.projections, _as_list(values[0]), strict=True)]
        return [projected[0] if isinstance(values[0], Tensor) else projected, *values[1:]]


def check_takes(loss: nn.Module, signals: int) -> None:
    """UserError for a loss that does not take so many signals."""
    takes = inspect.signature(loss.forward)
    try:
        takes.bind(*range(signals))
    except TypeError:
        names = ", ".join(takes.parameters)
        raise UserError(f"signals={signals} names: {type(loss).__name__} takes ({names}), one name for each") from None


class ObjectiveValue(NamedTuple):
    """The total to minimise, and every term's value before and after its weight."""

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Objective(nn.Module):
    """The terms of a run, by name; their weighted sum is minimised.

    A term that takes `target` contributes nothing to a batch without one.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        if not terms:
            raise UserError("terms={}: nothing to minimise; name at least one term, such as ce")
        for name in terms:
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise UserError(f"terms.{name}: cannot be a term's name; use letters, digits, _, as {name}_term")
        self.terms = nn.ModuleDict({name: term.unfitted() for name, term in terms.items()})

    def items(self) -> Iterator[tuple[str, Term]]:
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            yield name, term

    def names(self) -> set[str]:
        """The names of all signals that the terms take."""
        return {signal for _, term in self.items() for signal in term.names()}

    @property
    def is_built_from_examples(self) -> bool:
        return any(term.is_built_from_examples for _, term in self.items())

    def build(self, examples: Signals) -> None:
        """Make the parts of all terms that need examples of their signals; see `Term.build`."""
        examples = {**examples, **_as_signals(Progress())}
        for name, term in self.items():
            if term.is_built_from_examples:
                with naming(f"terms.{name}"):
                    term.build(examples)

    def synchronized_buffers(self) -> dict[str, Tensor]:
        """By their names, the buffers that losses keep equal on all ranks by themselves, once they begin equal."""
        parts = self.named_modules()
        owners = {name: part for name, part in parts if getattr(part, "synchronizes_buffers", False)}
        return {f"{owner}.{name}": value for owner, part in owners.items() for name, value in part.named_buffers()}

    def weights(self, progress: Progress) -> dict[str, float]:
        return {name: term.weight_at(progress) for name, term in self.items()}

    def changing(self, progress: Progress) -> dict[str, Tensor]:
        """What the terms change as the training goes: `NAME_weight` of a schedule, `NAME_temperature` of a learned one.

        A loss whose `temperature` is a tensor changes it. What is a number is given on the CPU.
        """
        values = {}
        for name, term in self.items():
            if callable(term.weight):
                values[f"{name}_weight"] = torch.tensor(term.weight_at(progress))
            temperatures = [getattr(part, "temperature", None) for part in term.loss.modules()]
            values |= {f"{name}_temperature": value for value in temperatures if isinstance(value, Tensor)}
        return values

    def forward(self, signals: Signals, progress: Progress | None = None) -> ObjectiveValue:
        progress = progress or Progress()
        weights = self.weights(progress)
        signals = {**signals, **_as_signals(progress)}
        active = [(name, term) for name, term in self.items() if "target" in signals or "target" not in term.names()]
        raw = {name: self._value(name, term, signals) for name, term in active}
        weighted = {name: weights[name] * value for name, value in raw.items()}
        total = torch.stack(list(weighted.values())).sum() if weighted else signals["student.logits"].sum() * 0.0
        return ObjectiveValue(total, raw, weighted)

    def _value(self, name: str, term: Term, signals: Signals) -> Tensor:
        with naming(f"terms.{name}"):
            value: Tensor = term(signals)
        return value


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put a term's name in front of what a part of it finds wrong."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        if not OUT_OF_BOUNDS.search(str(error)):
            raise
        reason = str(error).rstrip(".")
        raise UserError(f"{key}: {reason}; labels count from 0, and -1 and -100 stand for no label") from error
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(key) else f"{key}: {error}") from error


def _as_signals(progress: Progress) -> dict[str, Tensor]:
    return {"progress.epoch": torch.tensor(progress.epoch), "progress.fraction": torch.tensor(progress.fraction)}


def _shape(value: Tensor) -> Shape:
    return tuple(value.shape[1:])


def _as_list(value):  # type: ignore[no-untyped-def]
    return value if isinstance(value, list) else [value]


def _pick(signals: Signals, name: str | list[str]) -> Tensor | list[Tensor]:
    try:
        return signals[name] if isinstance(name, str) else [signals[one] for one in name]
    except KeyError as missing:
        raise UserError(
            f"signals={missing.args[0]}: nobody gives this signal; {did_you_mean(missing.args[0], signals)}there are "
            f"{', '.join(signals)}"
        ) from None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The closest of the names as a question, or nothing."""
    close = get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]}? " if close else ""


def _as_precise(converted: Tensor, value: Tensor) -> Tensor:
    """A tensor after a conversion; one that this would have made half-precision only where it was moved to."""
    is_half = converted.dtype in (torch.float16, torch.bfloat16)
    return value.to(converted.device) if is_half else converted


def _full_precision(value: Tensor) -> Tensor:
    """A half-precision value as float32; any other as it is."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
