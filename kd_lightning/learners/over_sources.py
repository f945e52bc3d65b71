"""A term over several sources that stand for one: its value for each of them, combined."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import Self

from kd_lightning.losses.sample_weights import Signals
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import PEERS, Signal, read
from kd_lightning.term import Evaluated, Term


class OverSources(Term):
    """The mean of a term's values over sources, each in turn under the name of the one that they stand for.

    For each source it has a loss and a projector of its own, where these learn.

    Args:
        term: takes signals of what they stand for, by the name `stands_for`.
        sources: their names.
    """

    stands_for: str

    def __init__(self, term: Term, sources: Sequence[str]) -> None:
        nn.Module.__init__(self)
        self._take({source: self._with_source(term.unbuilt(), source) for source in sources})

    def combined(self, values: Tensor, progress: Progress) -> Tensor:
        """One value of those of all sources, (K,)."""
        return values.mean()

    def _take(self, terms: Mapping[str, Term]) -> None:
        self.each = nn.ModuleDict(terms)
        first = next(iter(terms.values()))
        # The settings are those of all; in no list of modules, for they belong to the first.
        vars(self).update(loss=first.loss, weight=first.weight, stream=first.stream, projector=first.projector)
        vars(self).update(sample_weight=first.sample_weight, _scheduled=first._scheduled)

    def terms(self) -> dict[str, Term]:
        return {source: term for source, term in self.each.items() if isinstance(term, Term)}

    @property
    def signals(self) -> list[str | list[str]]:  # type: ignore[override]
        return [signal for term in self.terms().values() for signal in term.signals]

    def named_signals(self) -> Iterator[tuple[str, str]]:
        for term in self.terms().values():
            yield from term.named_signals()

    def as_typed(self, signal: str) -> str:
        found = read(signal)
        return signal if found is None or found.source not in self.each else str(found._replace(source=self.stands_for))

    def unbuilt(self) -> Self:
        one = copy.copy(self)
        one._modules = {}
        one._take({source: term.unbuilt() for source, term in self.terms().items()})
        return one

    @property
    def is_built_from_examples(self) -> bool:
        return any(term.is_built_from_examples for term in self.terms().values())

    def expand(self, names: Mapping[str, str | list[str]]) -> None:
        for term in self.terms().values():
            term.expand(names)

    def build(self, examples: Signals) -> None:
        for source, term in self.terms().items():
            term.build(self._seen_with(examples, source))
        self._take(self.terms())

    def evaluate(self, signals: Signals, progress: Progress, counts: bool = False) -> Evaluated:
        seen = ((term, self._seen_with(signals, source)) for source, term in self.terms().items())
        found = [term.evaluate(given, progress, counts) for term, given in seen]
        return Evaluated(self.combined(torch.stack([one.value for one in found]), progress), found[0].samples)

    def _apply(self, fn, recurse: bool = True) -> Self:  # type: ignore[no-untyped-def]
        return nn.Module._apply(self, fn, recurse)

    @classmethod
    def _with_source(cls, term: Term, source: str) -> Term:
        """The term of one source."""
        signals = {name: read(name) for name in term.names()}
        of_it = {name: one for name, one in signals.items() if one is not None and one.source == cls.stands_for}
        term.expand({name: str(one._replace(source=source)) for name, one in of_it.items()})
        return term

    @classmethod
    def _seen_with(cls, signals: Signals, source: str) -> Signals:
        """The signals, with this one's under the name of what it stands for too, as a function of signals may ask."""
        start, names = len(source), (f"{source}.", f"{source}@")
        own = {cls.stands_for + name[start:]: value for name, value in signals.items() if name.startswith(names)}
        return {**signals, **own}

    @classmethod
    def around(cls, term: Term, sources: Sequence[str]) -> Term:
        """The term itself, or where it takes signals of what the sources stand for, it over them.

        A loss that says `all_at_once` gets a list of all of theirs for each such signal, and for one in a list.
        """
        if sources and getattr(term.loss, "all_at_once", False):
            term = with_all(term, lambda signal: cls._of_all(signal, sources))
        takes = any(signal is not None and signal.source == cls.stands_for for signal in map(read, term.names()))
        return cls(term, sources) if takes and sources else term

    @classmethod
    def _of_all(cls, signal: Signal, sources: Sequence[str]) -> list[Signal] | None:
        """All the sources' signals for one of what they stand for."""
        return [signal._replace(source=one) for one in sources] if signal.source == cls.stands_for else None


def with_all(term: Term, of_all: Callable[[Signal], list[Signal] | None], *, takes_lists_apart: bool = True) -> Term:
    """A term of its own, with a list of signals for each of which `of_all` gives several, also for one in a list."""

    def several(name: str) -> list[str] | None:
        signal = read(name)
        found = None if signal is None else of_all(signal)
        return None if found is None else [str(one) for one in found]

    term, taken = term.unbuilt(), []
    for one in term.signals:
        if isinstance(one, str):
            taken.append(several(one) or one)
        else:
            taken.append([each for name in one for each in several(name) or [name]] if takes_lists_apart else one)
    term.signals = taken
    return term


class OverPeers(OverSources):
    """The mean of a term's values over the peers, as in deep mutual learning: (1/(K−1))·Σ_l L(z, z_l).

    Zhang et al. 2018, arXiv:1706.00384.

    Args:
        term: takes signals of `peers`.
        sources: the names of the other learners.

    Examples:
        >>> import torch
        >>> from kd_lightning import Term
        >>> from kd_lightning.learners.over_sources import OverPeers
        >>> from kd_lightning.losses import MeanSquaredLogits
        >>> term = OverPeers(Term(MeanSquaredLogits(), ["first.logits", "peers.logits"]), ["second", "third"])
        >>> ones = torch.ones(4, 1)
        >>> term({"first.logits": ones, "second.logits": 0 * ones, "third.logits": 3 * ones})  # (1 + 4) / 2
        tensor(2.5000)
    """

    stands_for = PEERS
