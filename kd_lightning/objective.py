"""What a run minimises: named terms over the signals of a training step."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError, did_you_mean
from kd_lightning.losses.sample_weights import Signals
from kd_lightning.ranks import processes
from kd_lightning.schedules.length import unlimited
from kd_lightning.schedules.progress import Progress, needs_length
from kd_lightning.signals import TRAINING_SET, check_signal, expanded, requested
from kd_lightning.term import Evaluated, Term

__all__ = ["Objective", "ObjectiveValue", "Term", "naming"]

OF_TERM = ("sample_weight=", "loss.")  # how a message begins that names an argument of a term, or of its loss
OUT_OF_BOUNDS = re.compile(r"(Target|index) -?\d+ is out of bounds")  # what PyTorch says of a label on the CPU


class ObjectiveValue(NamedTuple):
    """The total to minimise, and every term's value before and after its weight.

    Where several ranks train, the raw value is of the rank's own samples, and the weighted one counts them among those
    of all ranks.
    """

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Objective(nn.Module):
    """The terms of a run, by name; their weighted sum is minimised.

    A term that takes `target` contributes nothing to a batch without one. Where several ranks train, a term that is a
    mean over samples is the mean over those of all ranks, whatever each has of them.

    Args:
        terms: by name.
        key: what the terms are in, for messages.

    Raises UserError for no terms, and for a name that cannot be one.

    Examples:
        >>> import torch
        >>> from kd_lightning import Objective, Term
        >>> from kd_lightning.losses import CrossEntropy, MeanSquaredLogits
        >>> terms = {
        ...     "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.5),
        ...     "match": Term(MeanSquaredLogits(), ["student.logits", "teacher.logits"], 2.0),
        ... }
        >>> signals = {"student.logits": torch.ones(4, 1), "teacher.logits": torch.zeros(4, 1)}
        >>> value = Objective(terms)({**signals, "target": torch.zeros(4, dtype=torch.long)})
        >>> value.total, value.raw["match"], value.weighted["match"]
        (tensor(2.), tensor(1.), tensor(2.))
    """

    def __init__(self, terms: Mapping[str, Term], key: str = "terms") -> None:
        super().__init__()
        self.key = key
        if not terms:
            raise UserError(f"{key}={{}}: nothing to minimise; name at least one term, such as ce")
        for name in terms:
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise UserError(f"{key}.{name}: cannot be a term's name; use letters, digits, _, as {name}_term")
        self.terms = nn.ModuleDict({name: term.unbuilt() for name, term in terms.items()})
        for name, term in self.items():
            with naming(f"{self.key}.{name}"):
                term.check_sample_weight()

    def items(self) -> Iterator[tuple[str, Term]]:
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            yield name, term

    def names(self) -> list[str]:
        """The names of all signals that the terms take, each once, in the terms' order."""
        return names_in(dict(self.items()))

    def names_of(self, streams: Iterable[str | None]) -> list[str]:
        """The same of the terms of these streams; None is the one that goes without a name."""
        of_streams = (term for _, term in self.items() if term.stream in streams)
        return list(dict.fromkeys(signal for term in of_streams for signal in term.names()))

    def check_streams(self, streams: Mapping[str, Mapping[str, object]]) -> None:
        """Raise `UserError` for a term of a stream that there is not, or that lacks the target which it takes."""
        for name, term in self.items():
            if term.stream is None:
                continue
            if term.stream not in streams:
                named = ", ".join(stream for stream in streams if stream)
                there = f"{did_you_mean(term.stream, streams)}there are {named}" if named else "the data have one alone"
                raise UserError(f"{self.key}.{name}.stream={term.stream}: no stream of the training data; {there}")
            if "target" in term.names() and "target" not in streams[term.stream]:
                raise UserError(
                    f"{self.key}.{name}.stream={term.stream}: the term takes target, and this stream has none; take a "
                    "stream with targets, or a loss without"
                )

    def connect(
        self,
        sources: Mapping[str, Iterable[str] | None],
        training_set: Iterable[str] = (),
        taps_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Expand `student.stages` and its like in the terms, and see that each signal they take exists.

        `sources` tells what each can give; None for one that there might be, and is not. `taps_keys` tells where taps
        are added to a source, for messages; `SOURCE_taps` where it is not said.

        Raises UserError for a signal that nobody gives.
        """
        given = {source: list(taps) for source, taps in sources.items() if taps is not None}
        available = {**given, TRAINING_SET: list(training_set)}
        for name, term in self.items():
            for source in sources.keys() - given.keys():
                if requested(source, term.names()):
                    raise UserError(f"{self.key}.{name}: this term needs a {source}; give one, or leave the term out")
            term.expand({signal: expanded(signal, given) for signal in term.names()})
            _check_lists(f"{self.key}.{name}", [signals for signals in term.signals if isinstance(signals, list)])
            for argument, signal in term.named_signals():
                key = f"{self.key}.{name}.{argument}={term.as_typed(signal)}"
                check_signal(key, signal, available, taps_keys)

    def see_labels(self, labels: Tensor | None, classes: int | None) -> None:
        """Show the labels of all training samples, (N,), to the losses that are decided by them.

        Raises UserError where they do not go with a loss.
        """
        for name, term in self.items():
            see = getattr(term.loss, "see_labels", None)
            if see is not None:
                with naming(f"{self.key}.{name}"):
                    see(labels, classes)

    @property
    def needs_training_labels(self) -> bool:
        """Whether a loss is decided by them."""
        return need_training_labels(dict(self.items()))

    def refuse_without_length(self) -> None:
        """Raise `UserError` for a term that changes with the share of the training that is over: it has no end."""
        for name, term in self.items():
            if "progress.fraction" in term.names() or any(needs_length(schedule) for schedule in term.schedules()):
                raise UserError(unlimited(f"{self.key}.{name} changes over the whole of it"))

    @property
    def is_built_from_examples(self) -> bool:
        return any(term.is_built_from_examples for _, term in self.items())

    def build(self, examples: Signals, streams: Mapping[str, Signals] | None = None) -> None:
        """Make the parts of all terms that need examples of their signals; see `Term.build`, and `forward`."""
        found = _by_stream(examples, streams)
        for name, term in self.items():
            if term.is_built_from_examples:
                with naming(f"{self.key}.{name}"):
                    term.build({**found[term.stream], **_as_signals(Progress())})

    def synchronized_buffers(self) -> dict[str, Tensor]:
        """By their names, the buffers that losses keep equal on all ranks by themselves, once they begin equal."""
        parts = self.named_modules()
        owners = {name: part for name, part in parts if getattr(part, "synchronizes_buffers", False)}
        return {f"{owner}.{name}": value for owner, part in owners.items() for name, value in part.named_buffers()}

    def weights(self, progress: Progress) -> dict[str, float]:
        return {name: term.weight_at(progress) for name, term in self.items()}

    def changing(self, progress: Progress) -> dict[str, Tensor]:
        """What the terms change as the training goes: `NAME_weight` and `NAME_temperature` of a schedule or learned.

        A loss whose `temperature` is a tensor changes it. What is a number is given on the CPU.
        """
        values: dict[str, Tensor] = {}
        for name, term in self.items():
            scheduled = term.scheduled_numbers(progress)
            values |= {f"{name}_{number}": torch.tensor(value) for number, value in scheduled.items()}
            with term.numbers_at(progress):
                temperatures = [getattr(part, "temperature", None) for part in term.loss.modules()]
            values |= {f"{name}_temperature": value for value in temperatures if isinstance(value, Tensor)}
        return values

    def forward(
        self, signals: Signals, progress: Progress | None = None, streams: Mapping[str, Signals] | None = None
    ) -> ObjectiveValue:
        """The value of one step's signals: those of the main stream, and of all streams by their names.

        A term of a stream that is over already contributes nothing.
        """
        progress = progress or Progress()
        weights = self.weights(progress)
        moment = _as_signals(progress)
        found = {stream: {**own, **moment} for stream, own in _by_stream(signals, streams).items()}
        given = {name: found[term.stream] for name, term in self.items() if term.stream in found}
        active = [
            (name, term)
            for name, term in self.items()
            if name in given and ("target" in given[name] or "target" not in term.names())
        ]
        several = processes() > 1 and self.training and torch.is_grad_enabled()
        evaluated = {name: self._evaluate(name, term, given[name], progress, several) for name, term in active}
        raw = {name: one.value for name, one in evaluated.items()}
        weighted = {name: weights[name] * value for name, value in raw.items()}
        if several:
            device = next(iter(signals.values())).device
            weighted |= {name: share * weighted[name] for name, share in self._shares(evaluated, device).items()}
        total = torch.stack(list(weighted.values())).sum() if weighted else _nothing(signals)
        return ObjectiveValue(total, raw, weighted)

    def _evaluate(self, name: str, term: Term, signals: Signals, progress: Progress, counts: bool) -> Evaluated:
        with naming(f"{self.key}.{name}"):
            return term.evaluate(signals, progress, counts)

    def _shares(self, evaluated: Mapping[str, Evaluated], device: torch.device) -> dict[str, Tensor]:
        """What the terms that are means over samples count on this rank, by name, (): n·W/Σn; 1 where all n are equal.

        The mean over the W ranks, as DistributedDataParallel takes it, is then that over the samples of all of them.
        All ranks must call it together. The host does not wait for the device.
        """
        none = torch.zeros((), dtype=torch.long, device=device)
        found = {name: one.samples for name, one in evaluated.items() if one.samples is not None}
        own = torch.stack([found.get(name, none) for name, _ in self.items()])
        total = own.clone()
        torch.distributed.all_reduce(total)
        shares = own * processes() / total.clamp(min=1)
        return {name: share for (name, _), share in zip(self.items(), shares, strict=True) if name in found}


def names_in(terms: Mapping[str, Term]) -> list[str]:
    """The names of all signals that terms take, each once, in the terms' order."""
    return list(dict.fromkeys(signal for term in terms.values() for signal in term.names()))


def need_training_labels(terms: Mapping[str, Term]) -> bool:
    """Whether a loss is decided by them."""
    return any(getattr(term.loss, "needs_training_labels", False) for term in terms.values())


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Put a term's name in front of what a part of it finds wrong. Raises UserError."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        if not OUT_OF_BOUNDS.search(str(error)):
            raise
        reason = str(error).rstrip(".")
        raise UserError(f"{key}: {reason}; labels count from 0, and -1 and -100 stand for no label") from error
    except UserError as error:
        if str(error).startswith(key):
            raise
        raise UserError(f"{key}{'.' if str(error).startswith(OF_TERM) else ': '}{error}") from error


def _by_stream(main: Signals, streams: Mapping[str, Signals] | None) -> dict[str | None, Signals]:
    """The signals of streams by what terms call them."""
    found: dict[str | None, Signals] = {None: main}
    found.update(streams or {})
    return found


def _as_signals(progress: Progress) -> dict[str, Tensor]:
    return {"progress.epoch": torch.tensor(progress.epoch), "progress.fraction": torch.tensor(progress.fraction)}


def _nothing(signals: Signals) -> Tensor:
    """0 for a batch that no term takes, with a gradient of 0 for whoever learns."""
    return next(value for value in signals.values() if value.requires_grad).sum() * 0.0


def _check_lists(key: str, lists: list[list[str]]) -> None:
    if lists and (len({len(signals) for signals in lists}) > 1 or not lists[0]):
        layers = " and ".join(f"[{', '.join(signals)}]" for signals in lists)
        raise UserError(f"{key}.signals={layers}: lists of equal length are needed; name the layers to pair")
