"""A term that takes the signals of the other learners: its mean over them."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from typing_extensions import Self

from kd_lightning.losses.sample_weights import Signals
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import PEERS, read
from kd_lightning.term import Evaluated, Term


class OverPeers(Term):
    """The mean of a term's values over the peers, as in deep mutual learning: (1/(K−1))·Σ_l L(z, z_l).

    Zhang et al. 2018, arXiv:1706.00384. For each peer it has a loss and a projector of its own, where these learn.

    Args:
        term: takes signals of `peers`.
        peers: their names.

    Examples:
        >>> import torch
        >>> from kd_lightning import Term
        >>> from kd_lightning.learners.peers import OverPeers
        >>> from kd_lightning.losses import MeanSquaredLogits
        >>> term = OverPeers(Term(MeanSquaredLogits(), ["first.logits", "peers.logits"]), ["second", "third"])
        >>> ones = torch.ones(4, 1)
        >>> term({"first.logits": ones, "second.logits": 0 * ones, "third.logits": 3 * ones})  # (1 + 4) / 2
        tensor(2.5000)
    """

    def __init__(self, term: Term, peers: Sequence[str]) -> None:
        nn.Module.__init__(self)
        self._take({peer: _with_peer(term.unbuilt(), peer) for peer in peers})

    def _take(self, terms: Mapping[str, Term]) -> None:
        self.each = nn.ModuleDict(terms)
        first = next(iter(terms.values()))
        # The settings are those of all; in no list of modules, for they belong to the first.
        vars(self).update(loss=first.loss, weight=first.weight, stream=first.stream, projector=first.projector)
        vars(self).update(sample_weight=first.sample_weight, _scheduled=first._scheduled)

    def terms(self) -> dict[str, Term]:
        return {peer: term for peer, term in self.each.items() if isinstance(term, Term)}

    @property
    def signals(self) -> list[str | list[str]]:  # type: ignore[override]
        return [signal for term in self.terms().values() for signal in term.signals]

    def named_signals(self) -> Iterator[tuple[str, str]]:
        for term in self.terms().values():
            yield from term.named_signals()

    def as_typed(self, signal: str) -> str:
        found = read(signal)
        return signal if found is None or found.source not in self.each else str(found._replace(source=PEERS))

    def unbuilt(self) -> "OverPeers":
        one = copy.copy(self)
        one._modules = {}
        one._take({peer: term.unbuilt() for peer, term in self.terms().items()})
        return one

    @property
    def is_built_from_examples(self) -> bool:
        return any(term.is_built_from_examples for term in self.terms().values())

    def expand(self, names: Mapping[str, str | list[str]]) -> None:
        for term in self.terms().values():
            term.expand(names)

    def build(self, examples: Signals) -> None:
        for peer, term in self.terms().items():
            term.build(_seen_with(examples, peer))
        self._take(self.terms())

    def evaluate(self, signals: Signals, progress: Progress, counts: bool = False) -> Evaluated:
        found = [term.evaluate(_seen_with(signals, peer), progress, counts) for peer, term in self.terms().items()]
        return Evaluated(torch.stack([one.value for one in found]).mean(), found[0].samples)

    def _apply(self, fn, recurse: bool = True) -> Self:  # type: ignore[no-untyped-def]
        return nn.Module._apply(self, fn, recurse)


def over_peers(term: Term, peers: Sequence[str]) -> Term:
    """The term itself, or where it takes signals of peers its mean over them."""
    takes = any(signal is not None and signal.source == PEERS for signal in map(read, term.names()))
    return OverPeers(term, peers) if takes and peers else term


def _with_peer(term: Term, peer: str) -> Term:
    """The term of one peer."""
    signals = {name: read(name) for name in term.names()}
    of_peer = {name: signal for name, signal in signals.items() if signal is not None and signal.source == PEERS}
    term.expand({name: str(signal._replace(source=peer)) for name, signal in of_peer.items()})
    return term


def _seen_with(signals: Signals, peer: str) -> Signals:
    """The signals, with this one's under the name of `peers` too, as a function of signals may ask for them."""
    start = len(peer)
    own = {PEERS + name[start:]: value for name, value in signals.items() if name.startswith((f"{peer}.", f"{peer}@"))}
    return {**signals, **own}
