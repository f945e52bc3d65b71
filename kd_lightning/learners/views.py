"""What a learner sees of a step's signals: its own with their gradient, those of the other learners without."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, overload

from torch import Tensor

from kd_lightning.learners.names import peers_of
from kd_lightning.objective import Objective
from kd_lightning.schedules.progress import Progress
from kd_lightning.signals import PEERS, read
from kd_lightning.sources.signals import OfStreams

T = TypeVar("T")


class View:
    """The signals of a training as a learner's terms call them.

    Args:
        learner: its name, by which its signals go.
        own: what its terms may call it as well.
        learners: the names of all learners; the others are its `peers`. One that is named `own` itself its terms call
            `peers_NAME`.

    Examples:
        >>> import torch
        >>> from kd_lightning.learners.views import View
        >>> view = View("first", "me", ["first", "second"])
        >>> view.taken(["me.logits", "peers.stage1", "target"])
        ['first.logits', 'second.stage1', 'target']
        >>> logits = torch.zeros(2, 3, requires_grad=True)
        >>> seen = view.of({"first.logits": logits, "second.logits": logits})
        >>> {name: value.requires_grad for name, value in seen.items()}
        {'first.logits': True, 'me.logits': True, 'second.logits': False}
    """

    def __init__(self, learner: str, own: str, learners: Sequence[str]) -> None:
        self.learner = learner
        self.own = own
        self.peers = peers_of(learner, own, learners)
        self._called = {source: called for called, source in self.peers.items()}
        self._is_plain = learner == own and not self.peers
        self._known: dict[str, tuple[list[str], bool]] = {}

    def taken(self, names: Iterable[str]) -> list[str]:
        """The signals that terms' names stand for."""
        found: list[str] = []
        for name in names:
            signal = read(name)
            if signal is None:
                found.append(name)
            elif signal.source == PEERS and self.peers:
                found += [str(signal._replace(source=source)) for source in self.peers.values()]
            else:
                source = self.learner if signal.source == self.own else self.peers.get(signal.source, signal.source)
                found.append(name if source == signal.source else str(signal._replace(source=source)))
        return list(dict.fromkeys(found))

    def given(self, sources: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """What terms may take of each source, by the names that they may call it; of the peers what all have."""
        found = self.called(sources)
        if self.peers:
            first, *others = (sources[source] for source in self.peers.values())
            found[PEERS] = [tap for tap in first if all(tap in other for other in others)]
        return found

    def called(self, of_sources: Mapping[str, T]) -> dict[str, T]:
        """What there is of each source, by the names that terms may call it."""
        found = {self._called.get(source, source): value for source, value in of_sources.items()}
        return {self.own: of_sources[self.learner], **found}

    def of(self, signals: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The signals by the names that terms may take."""
        if self._is_plain:
            return signals
        seen: dict[str, Tensor] = {}
        for name, value in signals.items():
            if name not in self._known:
                self._known[name] = self._read(name)
            names, is_detached = self._known[name]
            seen.update(dict.fromkeys(names, value.detach() if is_detached else value))
        return seen

    def of_streams(self, signals: OfStreams) -> tuple[Mapping[str, Tensor], dict[str, Mapping[str, Tensor]]]:
        """Those of the main stream, and of all streams by name."""
        main, named = signals
        return self.of(main), {stream: self.of(own) for stream, own in named.items()}

    @overload
    def progress(self, progress: Progress) -> Progress: ...

    @overload
    def progress(self, progress: None) -> None: ...

    def progress(self, progress: Progress | None) -> Progress | None:
        """How far the training is, with what validation measured of this learner by the names of one alone."""
        if not self.peers or progress is None or progress.assessment is None:
            return progress
        return replace(progress, assessment=progress.assessment.seen_by(self.learner))

    def _read(self, name: str) -> tuple[list[str], bool]:
        """What a signal is called, and whether it comes without its gradient."""
        signal = read(name)
        if signal is None:
            return [name], False
        if signal.source == self.learner:
            return [name, str(signal._replace(source=self.own))], False
        called = self._called.get(signal.source)
        return ([name], False) if called is None else ([str(signal._replace(source=called))], True)


def taken_by_all(
    objectives: Mapping[str, Objective], views: Mapping[str, View], streams: Iterable[str | None] | None = None
) -> list[str]:
    """The signals that the learners' terms take, of all streams or of these, by the names of their sources."""
    each = {name: one.names() if streams is None else one.names_of(streams) for name, one in objectives.items()}
    return list(dict.fromkeys(signal for name, own in each.items() for signal in views[name].taken(own)))
