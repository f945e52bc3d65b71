"""Dynamic instance hardness: a running mean of how hard a sample was whenever it was trained on."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.difficulties.running import Running
from kd_lightning.errors import UserError

MOST = 10.0  # that a loss changes by, as in the authors' code
KINDS = ("loss", "change", "flip")
DIVISORS = ("learning_rate", "path")


class DynamicHardness(Running):
    """A running mean of the student's loss, of its change, or of flips of its being right, as it trains on a sample.

    r_i ← decay·r_i + (1 - decay)·a_i for the samples of a batch, where a_i is the cross-entropy l_i, |l_i - l_i'| (at
    most 10) of l_i' at the time before, or 1 where the student was right at one of both times alone (Zhou, Wang, Bilmes
    2020, NeurIPS, "Curriculum Learning by Dynamic Instance Hardness"). A first change or flip is 0.

    The paper divides a_i by the learning rate of its step, `divided_by="learning_rate"`: a student that moves little
    changes little. Its authors' code divides changes and flips by the sum of the learning rates of all steps since the
    one at which the sample was last seen, `divided_by="path"`. A step at rate 0 is not seen. Raises UserError for
    another kind or divisor.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import DynamicHardness, Samples
        >>> hardness = DynamicHardness("flip", decay=0.5)
        >>> hardness.begin(Samples(torch.arange(2)))
        >>> for logits in ([1.0, 0.0], [0.0, 1.0]):  # right, then wrong
        ...     answers = {"student.logits": torch.tensor([logits]), "target": torch.tensor([0])}
        ...     hardness.observe(torch.tensor([1]), answers)
        >>> hardness.values
        tensor([0.0000, 0.5000])
    """

    def __init__(
        self,
        kind: Literal["loss", "change", "flip"] = "loss",
        decay: float = 0.9,
        logits: str = "student.logits",
        target: str = "target",
        divided_by: Literal["learning_rate", "path"] | None = None,
    ) -> None:
        super().__init__(decay)
        if kind not in KINDS:
            raise UserError(f"kind={kind}: must be one of {', '.join(KINDS)}")
        if divided_by is not None and divided_by not in DIVISORS:
            raise UserError(f"divided_by={divided_by}: must be one of {', '.join(DIVISORS)}; or null")
        self.kind, self.divided_by = kind, divided_by
        self.observes = logits, target

    def begin(self, samples: Samples) -> None:
        super().begin(samples)
        self.last = torch.zeros_like(self.values)  # of each sample, its loss or whether it was right
        self.path = torch.zeros((), device=self.values.device)  # the sum of all steps' learning rates
        self.path_at = torch.zeros_like(self.values)  # of each sample, what it was when the sample was last seen

    def learn(self, positions: Tensor, value: Tensor) -> None:
        hardness, was_seen = self.hardness(positions, value), self.seen[positions]
        if self.divided_by is None:
            super().learn(positions, hardness)
            return
        self.path += self.learning_rate
        rate = self.learning_rate if self.divided_by == "learning_rate" else self.path - self.path_at[positions]
        counts = torch.zeros_like(hardness) + rate > 0
        before = self.values[positions]
        super().learn(positions, torch.where(counts, hardness / rate, before))
        self.path_at[positions] = self.path
        self.seen[positions] = was_seen | counts

    def hardness(self, positions: Tensor, value: Tensor) -> Tensor:
        """How hard the samples at these positions are now, (B,), by their latest values."""
        hardness = value
        if self.kind != "loss":
            change = (value - self.last[positions]).abs().clamp_max(MOST)
            hardness = torch.where(self.seen[positions], change, torch.zeros_like(change))
        self.last[positions] = value
        return hardness

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        logits, target = (signals[name] for name in self.observes)
        if self.kind == "flip":
            return (logits.argmax(dim=1) == target).to(logits.dtype)
        return F.cross_entropy(logits, target, reduction="none")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "last": self.last, "path": self.path, "path_at": self.path_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.last, self.path, self.path_at = state["last"], state["path"], state["path_at"]
