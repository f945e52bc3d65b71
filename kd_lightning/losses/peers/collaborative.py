"""Soft targets that all learners make together, as a module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import (
    as_number,
    check_labels,
    check_one_label,
    check_positive,
    check_same_classes,
)
from kd_lightning.losses.functional.peers.collaborative import COLLABORATIONS, OF_LABELS, Collaboration
from kd_lightning.losses.functional.samples import Reduction, as_probabilities, has_label
from kd_lightning.losses.peers.all_at_once import check_all_at_once
from kd_lightning.losses.per_sample import labelled
from kd_lightning.schedules.progress import Number


class KDCL(nn.Module):
    """Collaborative learning; see `functional.kdcl`. Takes logits (B, C), a list of the others' and target (B,).

    In a term `peers.logits` are those of all peers: `[student.logits, peers.logits, target]`; a frozen teacher joins
    them as `[student.logits, [peers.logits, teacher.logits], target]`.

    Args:
        collaboration: the target that all make together, `naive`, `linear`, `minlogit`, `general` or `mean`; see
            `functional.collaborative_target`. The weights of `general` are equal until the first validation of a
            training, and after each those that err least on its first loader; `DistillationModule` shows it these.
        temperature: of both sides.

    Raises UserError for another collaboration.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import KDCL
        >>> logits, others = torch.randn(8, 10), [torch.randn(8, 10), torch.randn(8, 10)]
        >>> KDCL("minlogit", temperature=2.0)(logits, others, torch.arange(8), reduction="none").shape
        torch.Size([8])
    """

    all_at_once = True  # a signal of the peers is a list of all of theirs
    outputs = "classes"
    synchronizes_buffers = True  # the weights, which all ranks find from the samples of all of them
    weights: Tensor | None

    def __init__(self, collaboration: Collaboration = "minlogit", temperature: Number = 2.0) -> None:
        super().__init__()
        if collaboration not in COLLABORATIONS:
            raise UserError(f"collaboration={collaboration}: must be one of {', '.join(COLLABORATIONS)}")
        check_positive(temperature=temperature)
        self.collaboration: Collaboration = collaboration
        self.temperature = as_number(temperature)
        self.register_buffer("weights", None)

    @property
    def needs_validation(self) -> bool:
        """Whether it has to see what all networks make of validation data."""
        return self.collaboration == "general"

    def see_peers(self, peers: Sequence[nn.Module | None]) -> None:
        """See how many others there are."""
        if self.needs_validation:
            count = 1 + len(peers)
            self.weights = torch.full((count,), 1 / count)

    def errors(self, student: Tensor, others: Sequence[Tensor], target: Tensor) -> Tensor:
        """The errors of all networks on a batch, each times each other's: their sums (K, K), behind them the number of
        samples, (K + 1, K)."""
        check_one_label(target)
        known = has_label(target)
        wanted = as_probabilities(target, student.float())
        errors = torch.stack([(one.float().softmax(dim=1) - wanted) * known[:, None] for one in (student, *others)])
        flat = errors.flatten(1)
        return torch.cat([flat @ flat.T, known.sum().to(flat).expand(1, len(flat))])

    def end_validation(self, summed: Tensor) -> None:
        """Weigh the networks anew, by the errors of a whole validation."""
        assert self.weights is not None
        errors, count = summed[:-1], summed[-1, 0]
        found = functional.generalization_weights(errors / count.clamp(min=1)).to(self.weights)
        self.weights.copy_(torch.where(count > 0, found, self.weights))

    def forward(
        self, student: Tensor, others: Sequence[Tensor], target: Tensor, *, reduction: Reduction = "mean"
    ) -> Tensor:
        check_all_at_once(self, others)
        check_same_classes(student, *others)
        check_labels(student, target)
        if self.collaboration == "minlogit":
            check_one_label(target)
        given = (student, others, target, self.collaboration, self.temperature, self.weights)
        return functional.kdcl(*given, reduction=reduction)

    def counted(self, student: Tensor, others: Sequence[Tensor], target: Tensor) -> Tensor | None:
        return labelled(target) if self.collaboration in OF_LABELS else None
