"""Any loss with one teacher made several by noise, as a module."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_positive, check_whole
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import counted, has_values, values
from kd_lightning.schedules.progress import Number


class TeKAP(nn.Module):
    """A loss with a teacher, and with it perturbed: l(s, t) + w·Σ_k l(s, (1 - λ)·t + λ·σ·n_k), n_k of N(0, 1).

    Hossain et al. 2025, ICLR, openreview.net/forum?id=DmEHmZ89iB: an ensemble for the price of one teacher. Their code
    has K = 3, λ = 0.1, σ = 1 and w = 0.8 on logits; K = 1, λ = 0.1, σ = 0.1 and w = 1 on the pooled feature of CRD. The
    noise is drawn anew in each step. Takes the student's signal, the teacher's, logits or a feature, then whatever else
    the loss takes; a list of features is perturbed one by one.

    Args:
        loss: l.
        teachers: K, how many perturbed teachers there are beside it.
        share: λ, from 0 to 1.
        deviation: σ.
        weight: w, of each of them.

    Raises UserError for numbers that are not allowed.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import SoftTarget, TeKAP
        >>> student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        >>> loss = TeKAP(SoftTarget(temperature=4.0), teachers=3, share=0.1, weight=0.8)
        >>> loss(student, teacher, reduction="none").shape
        torch.Size([8])
    """

    def __init__(
        self, loss: nn.Module, teachers: int = 3, share: float = 0.1, deviation: float = 1.0, weight: Number = 0.8
    ) -> None:
        super().__init__()
        check_whole(teachers=teachers)
        check_positive(deviation=deviation, weight=weight)
        if not 0 < share <= 1:
            raise UserError(f"share={share}: is that of the noise; above 0, at most 1")
        self.loss = loss
        self.teachers, self.share, self.deviation, self.weight = teachers, share, deviation, as_number(weight)
        self.soft_target = bool(getattr(loss, "soft_target", False))
        self.outputs = getattr(loss, "outputs", None)
        self.any_memory_format = bool(getattr(loss, "any_memory_format", False))
        self.needs_training_labels = bool(getattr(loss, "needs_training_labels", False))
        for name in ("build", "see_labels"):  # by which a loss says that it wants to see something
            if hasattr(loss, name):
                setattr(self, name, getattr(loss, name))

    @property
    def per_sample(self) -> bool | None:
        """Whether the loss is a mean over samples; see `has_values`."""
        return has_values(self.loss)

    def forward(
        self, student: Any, teacher: Tensor | Sequence[Tensor], *rest: Any, reduction: Reduction = "mean"
    ) -> Tensor:
        def of(teacher: Tensor | Sequence[Tensor]) -> Tensor:
            return (
                values(self.loss, student, teacher, *rest)
                if reduction == "none"
                else self.loss(student, teacher, *rest)
            )

        others = [of(self.seen_differently(teacher)) for _ in range(self.teachers)]
        return of(teacher) + self.weight * torch.stack(others).sum(dim=0)

    def seen_differently(self, teacher: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
        """What another perturbed teacher says; in eval mode without noise."""
        if not isinstance(teacher, Tensor):
            return [functional.perturbed(one, self.noise(one), self.share) for one in teacher]
        return functional.perturbed(teacher, self.noise(teacher), self.share)

    def noise(self, like: Tensor) -> Tensor:
        return self.deviation * torch.randn_like(like) if self.training else torch.zeros_like(like)

    def counted(self, *signals: Any) -> Tensor | None:
        return counted(self.loss, *signals)
