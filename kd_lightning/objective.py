"""What a run minimises: named terms over the signals of a training step."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.schedules import Progress, Schedule

Signals = Mapping[str, Tensor]
Shape = tuple[int, ...]
Projector = Callable[[Shape, Shape], nn.Module]


class Term(nn.Module):
    """A loss, the names of the signals it takes, a weight, and where needed a projector between two shapes.

    Args:
        loss: takes the signals in the order of their names and returns a scalar.
        signals: names such as `student.logits`, `teacher.stage2`, `target`; a list among them stands for a list of
            tensors (a layer each), and `student.stages` or `teacher.stages` for all stages of that network.
        weight: a number, or a schedule of the training's progress.
        projector: makes the module that takes the first signal to the second one's shape, from these two shapes
            without the batch dimension; of two lists, one module for each pair.
    """

    def __init__(
        self,
        loss: nn.Module,
        signals: Sequence[str | Sequence[str]],
        weight: float | Schedule = 1.0,
        projector: Projector | None = None,
    ) -> None:
        super().__init__()
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
        """A term of its own with the same loss: an objective fits its terms to one pair of networks."""
        term = copy.copy(self)
        term._modules = {**self._modules, "projections": nn.ModuleList()}
        return term

    def expand(self, stages: Mapping[str, Sequence[str]]) -> None:
        """Replace `student.stages` and `teacher.stages` by the list of that network's stages."""
        self.signals = [
            list(stages[name]) if isinstance(name, str) and name in stages else name for name in self.signals
        ]

    def build(self, shapes: Mapping[str, Shape]) -> None:
        """Make the projections from the shapes of one dry run, without the batch dimension."""
        if self.projector is None:
            return
        sources, destinations = (_as_list(name) for name in self.signals[:2])
        self.projections = nn.ModuleList(
            self.projector(shapes[source], shapes[destination])
            for source, destination in zip(sources, destinations, strict=True)
        )

    def weight_at(self, progress: Progress) -> float:
        return self.weight(progress) if callable(self.weight) else self.weight

    def forward(self, signals: Signals) -> Tensor:
        """The unweighted loss, a scalar."""
        values = [_pick(signals, name) for name in self.signals]
        if len(self.projections):
            projected = [project(x) for project, x in zip(self.projections, _as_list(values[0]), strict=True)]
            values[0] = projected[0] if isinstance(values[0], Tensor) else projected
        device = next(iter(signals.values())).device.type
        with torch.autocast(device, enabled=False):
            return self.loss(*(_full_precision(value) for value in values))


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
            raise UserError("loss=[]: nothing to minimise; name at least one term, as in loss=[ce,kd]")
        for name in terms:
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise UserError(f"loss.{name}: cannot be a term's name; use letters, digits and _, such as {name}_term")
        self.terms = nn.ModuleDict({name: term.unfitted() for name, term in terms.items()})

    def items(self) -> Iterator[tuple[str, Term]]:
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            yield name, term

    def names(self) -> set[str]:
        """The names of all signals that the terms take."""
        return {signal for _, term in self.items() for signal in term.names()}

    def build(self, shapes: Mapping[str, Shape]) -> None:
        """Make the projections of all terms; see `Term.build`."""
        for _, term in self.items():
            term.build(shapes)

    def weights(self, progress: Progress) -> dict[str, float]:
        return {name: term.weight_at(progress) for name, term in self.items()}

    def forward(self, signals: Signals, progress: Progress | None = None) -> ObjectiveValue:
        weights = self.weights(progress or Progress())
        active = [(name, term) for name, term in self.items() if "target" in signals or "target" not in term.names()]
        raw = {name: term(signals) for name, term in active}
        weighted = {name: weights[name] * value for name, value in raw.items()}
        total = torch.stack(list(weighted.values())).sum() if weighted else signals["student.logits"].sum() * 0.0
        return ObjectiveValue(total, raw, weighted)


def _as_list(value):  # type: ignore[no-untyped-def]
    return value if isinstance(value, list) else [value]


def _pick(signals: Signals, name: str | list[str]) -> Tensor | list[Tensor]:
    try:
        return signals[name] if isinstance(name, str) else [signals[one] for one in name]
    except KeyError as missing:
        raise UserError(
            f"signals={missing.args[0]}: nobody gives this signal; there are {', '.join(signals)}"
        ) from None


def _full_precision(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """Half-precision values as float32; all others as they are."""
    if isinstance(value, list):
        return [v for one in value if isinstance(v := _full_precision(one), Tensor)]
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
