"""A term: a loss, the signals that it takes, its weight."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.models.dry_run import evaluating
from kd_lightning.schedules.progress import Progress, Schedule

Signals = Mapping[str, Tensor]
Shape = tuple[int, ...]
Projector = Callable[[Shape, Shape], nn.Module]


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


def _as_precise(converted: Tensor, value: Tensor) -> Tensor:
    """A tensor after a conversion; one that this would have made half-precision only where it was moved to."""
    is_half = converted.dtype in (torch.float16, torch.bfloat16)
    return value.to(converted.device) if is_half else converted


def _full_precision(value: Tensor) -> Tensor:
    """A half-precision value as float32; any other as it is."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
