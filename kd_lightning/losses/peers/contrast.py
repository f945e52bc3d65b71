"""Contrast of each learner's embeddings with those of all others, as a module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import (
    as_number,
    check_constant,
    check_not_negative,
    check_one_label,
    check_positive,
    check_whole,
)
from kd_lightning.losses.peers.all_at_once import check_all_at_once
from kd_lightning.losses.whole_batch import BatchRelations
from kd_lightning.schedules.progress import Number


class MCL(BatchRelations):
    """Mutual contrastive learning; see `functional.mcl`. Takes a feature, a list of all peers', and target (B,).

    Each learner has a head of its own, two linear layers with a ReLU between them, which its term trains and which is
    left behind with the term. What it sees of the peers goes through their heads, without gradient. In a term:
    `[student.pooled, peers.pooled, target]`, the same for all learners.

    Args:
        embedding: width of the embeddings.
        scale: of the cosines, which are divided by it.
        temperature: of the two soft parts.
        vanilla, soft_vanilla, interactive, soft_interactive: the weight of each part.
        gather: compare the samples of all processes' batches, and not of each process's own.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import MCL
        >>> one, two, label = torch.rand(8, 16), torch.rand(8, 64), torch.arange(8) % 3
        >>> first, second = MCL(embedding=32), MCL(embedding=32)
        >>> first.build(one, [two], label)  # as a `Term` does
        >>> second.build(two, [one], label)
        >>> first.see_peers([second])  # as `DistillationModule` does
        >>> first(one, [two], label).shape
        torch.Size([])
    """

    all_at_once = True  # a signal of the peers is a list of all of theirs

    def __init__(
        self,
        embedding: int = 128,
        scale: Number = 0.07,
        temperature: Number = 3.0,
        vanilla: Number = 0.1,
        soft_vanilla: Number = 1.0,
        interactive: Number = 0.1,
        soft_interactive: Number = 1.0,
        gather: bool = False,
    ) -> None:
        super().__init__(gather)
        check_constant(embedding=embedding)
        check_whole(embedding=embedding)
        check_positive(scale=scale, temperature=temperature)
        check_not_negative(
            vanilla=vanilla, soft_vanilla=soft_vanilla, interactive=interactive, soft_interactive=soft_interactive
        )
        self.width = embedding
        self.scale, self.temperature = as_number(scale), as_number(temperature)
        self.vanilla, self.soft_vanilla = as_number(vanilla), as_number(soft_vanilla)
        self.interactive, self.soft_interactive = as_number(interactive), as_number(soft_interactive)
        self._peers: list[MCL] | None = None  # in a list, for each belongs to its own learner

    def build(self, own: Tensor, others: Sequence[Tensor], target: Tensor) -> None:
        check_all_at_once(self, others)
        size = own.flatten(1).shape[1]
        self.embed = nn.Sequential(
            nn.Flatten(), nn.Linear(size, self.width), nn.ReLU(), nn.Linear(self.width, self.width)
        )

    def see_peers(self, peers: Sequence[nn.Module | None]) -> None:
        """See the losses of the peers, whose heads embed what these give. Raises UserError where one has no such."""
        found = [one for one in peers if isinstance(one, MCL)]
        if len(found) < len(peers):
            raise UserError(
                "signals: one of the others has no head for its embeddings; give each learner this term by one name, "
                "and it the features of peers alone"
            )
        widths = {one.width for one in (self, *found)}
        if len(widths) > 1:
            raise UserError(f"embedding={self.width}: learners have {sorted(widths)}; embeddings need one width")
        self._peers = found

    def forward(self, own: Tensor, others: Sequence[Tensor], target: Tensor) -> Tensor:
        check_all_at_once(self, others)
        check_one_label(target)
        if self._peers is None or len(self._peers) != len(others):
            raise UserError(f"signals: {len(others)} others, and not each one's loss is known; call see_peers")
        with torch.no_grad():
            embedded = [peer.embed(other) for peer, other in zip(self._peers, others, strict=True)]
        own, target, *peers = self.batch(self.embed(own), target, *embedded)
        return functional.mcl(
            own,
            peers,
            target,
            self.scale,
            self.temperature,
            self.vanilla,
            self.soft_vanilla,
            self.interactive,
            self.soft_interactive,
        )
