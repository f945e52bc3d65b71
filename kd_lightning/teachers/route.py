"""A teacher that is followed along its own training."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from kd_lightning.sources import Anchor, CachedSource, FrozenNetwork, Route
from kd_lightning.sources.route import Gate
from kd_lightning.teachers import anchors
from kd_lightning.teachers.anchors import validated
from kd_lightning.teachers.member import Member
from kd_lightning.teachers.network import NetworkTeacher
from kd_lightning.training.context import Context
from kd_lightning.training.measuring import TestedNetwork


class RouteTeacher(NetworkTeacher):
    """A network that is trained first, as it was after some epochs of that training, and at last as it became.

    Args:
        teacher: the network.
        epochs: of its training, after which it is kept.
        moves: as of `Route`; so is `gate`.
    """

    def __init__(
        self, teacher: NetworkTeacher, epochs: Sequence[int], moves: Sequence[int] | None, gate: Gate | None
    ) -> None:
        self.__dict__.update(teacher.__dict__)
        self.epochs, self.moves, self.gate = epochs, moves, gate
        self.anchors: list[Anchor] | None = None  # until they are obtained

    def obtain(self, context: Context) -> TestedNetwork:
        *before, last = anchors.obtain(self.network.training(context), self.epochs, context)
        tested = super().obtain(context)
        self.anchors = [*before, last._replace(measured=validated(tested.test))]
        return tested

    def answering(self, context: Context) -> Sequence[Member]:
        found = anchors.find(self.network.training(context), self.epochs, context)
        return [*super().answering(context), *(self.network.at(Path(str(one.file))) for one in found)]

    def source(self, built: nn.Module, names: Iterable[str], context: Context) -> FrozenNetwork | CachedSource:
        """At its last anchor. Where none was obtained, as in a rehearsal, all are the network as it is."""
        titles = [*(anchors.titled(epoch) for epoch in self.epochs), "trained"]
        each = self.anchors or [Anchor(None, title) for title in titles]
        frozen = self.network.frozen(
            built, self.role, names, context.data, context.task.width, batch_statistics=self.batch_statistics
        )
        frozen.reader.remove()  # the route has its own
        route = Route(
            built,
            each,
            frozen.taps,
            self.network.name,
            moves=None if self.moves is None else self.moves[: len(each) - 1],  # a training may end before some
            gate=self.gate,
            batch_statistics=self.batch_statistics,
            num_classes=frozen.num_classes,
        )
        return self.answers.in_front_of(route, self.network.settings, context)
