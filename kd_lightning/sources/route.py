"""A frozen network along its own training: with the weights that it had at one moment of it after the other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from kd_lightning.columns import Column
from kd_lightning.errors import UserError
from kd_lightning.models.weights.weights import load_weights, state_sha256
from kd_lightning.sources.frozen import FrozenNetwork


class Anchor(NamedTuple):
    """What a network was at one moment of its training.

    `file` holds its weights; None where these are not there, as before that training: the network then stays as it is.
    `measured` is what it reached on validation data by the names of metrics.

    Examples:
        >>> from kd_lightning.sources import Anchor
        >>> Anchor("epoch_10.safetensors", "epoch 10", {"top1": 0.61}).title
        'epoch 10'
    """

    file: str | Path | None
    title: str
    measured: Mapping[str, float | None] = {}


Gate = Callable[[Mapping[str, float], Mapping[str, float | None], Column], bool]
"""Whether a learner goes on from an anchor: of the metrics that both reached on validation data, and what selects."""


class Mastery:
    """Opens once the learner reaches a share of what its anchor does, in the metric that selects.

    Where lower is better, once the anchor's value is this share of the learner's. Raises UserError for a share below 0.

    Examples:
        >>> from kd_lightning.sources import Mastery
        >>> from kd_lightning.tasks import Column
        >>> Mastery(0.9)({"top1": 0.56}, {"top1": 0.6}, Column("top1", "top-1"))
        True
    """

    def __init__(self, share: float = 0.9) -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not share > 0:
            raise UserError(f"share={share}: must be above 0, such as 0.9")
        self.share = share

    def __call__(self, reached: Mapping[str, float], anchor: Mapping[str, float | None], selects: Column) -> bool:
        own, other = reached.get(selects.name), anchor.get(selects.name)
        if own is None or other is None:
            return False
        return own >= self.share * other if selects.higher_is_better else self.share * own <= other


class Route(FrozenNetwork):
    """A frozen network that is at first what it was early in its training, and at last what it became.

    Route constrained optimization, Jin et al. 2019, arXiv:1904.09149. Each epoch of a training learns from one anchor,
    each anchor in turn; one at a time is in memory. Outside of a training it is the last one.

    Args:
        network: what gets the weights.
        anchors: its weights from early to late, as files or `Anchor`s.
        taps: as of `FrozenNetwork`; so are `name`, `batch_statistics` and `num_classes`.
        moves: the epochs of the student, counted from 0, in which the second anchor takes over, the third, and so on;
            equal shares of its training where None.
        gate: has it go on sooner, from the epoch on after a validation for which this is true.

    Raises UserError for fewer than one anchor, for a file that does not fit, and for other moves than anchors.

    Examples:
        >>> import tempfile, torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.models import save_weights
        >>> from kd_lightning.sources import Route
        >>> teacher = torch.nn.Linear(16, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for epoch in (1, 2):  # of a training of its own
        ...         save_weights(teacher, f"{folder}/epoch_{epoch}.safetensors")
        ...     route = Route(teacher, [f"{folder}/epoch_1.safetensors", f"{folder}/epoch_2.safetensors"])
        >>> module = DistillationModule(student=torch.nn.Linear(16, 3), teacher=route, num_classes=3)
    """

    def __init__(
        self,
        network: nn.Module,
        anchors: Sequence[Anchor | str | Path],
        taps: Mapping[str, str] | None = None,
        name: str | None = None,
        *,
        moves: Sequence[int] | None = None,
        gate: Gate | None = None,
        batch_statistics: bool = False,
        num_classes: int | None = None,
    ) -> None:
        if not anchors:
            raise UserError("anchors=[]: a route has at least one; give files of weights, from early to late")
        self.anchors = [one if isinstance(one, Anchor) else Anchor(one, Path(one).stem) for one in anchors]
        check_moves(moves, len(self.anchors))
        self.moves, self.gate = moves, gate
        digests = []
        for anchor in self.anchors:
            load(network, anchor)
            digests.append(state_sha256(network))
        super().__init__(network, taps, name, batch_statistics=batch_statistics, num_classes=num_classes)
        self.place = self.last
        self._digests = digests

    @property
    def last(self) -> int:
        return len(self.anchors) - 1

    def go_to(self, place: int) -> None:
        """Be another anchor, by its place among them."""
        if place != self.place:
            load(self.network, self.anchors[place])
            self.place = place

    def identities(self) -> list[dict[str, Any]]:
        """What each anchor is by itself."""
        return [{"model": self.name, "sha256": digest} for digest in self._digests]

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "anchors": self._digests}


def load(network: nn.Module, anchor: Anchor) -> None:
    """Put an anchor's weights into its network, where they are there."""
    if anchor.file is not None:
        load_weights(network, anchor.file, "anchors")


def check_moves(moves: Sequence[int] | None, anchors: int, key: str = "moves") -> None:
    """Raise UserError for moves that do not lie between so many anchors."""
    if moves is None:
        return
    whole = isinstance(moves, Sequence) and all(isinstance(one, int) and not isinstance(one, bool) for one in moves)
    if not whole or [*moves] != sorted({*moves}) or any(epoch < 1 for epoch in moves):
        raise UserError(f"{key}={moves}: must be a list of the student's epochs, ascending from 1 on, or null")
    if len(moves) != anchors - 1:
        raise UserError(
            f"{key}={[*moves]}: {anchors} anchors have {anchors - 1} moves between them; give as many, or null"
        )
