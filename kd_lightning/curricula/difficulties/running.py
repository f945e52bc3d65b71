"""Difficulties that are learned from the student's and the teacher's answers in training."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.difficulties.difficulty import Difficulty
from kd_lightning.errors import UserError


class Running(Difficulty):
    """A running mean of each sample's own value: d ← decay·d + (1 - decay)·value; its first value as it is.

    Of a sample that a batch has repeatedly the last value counts.

    Raises UserError for a decay outside of [0, 1).

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Running, Samples
        >>> class Norm(Running):
        ...     observes = ("student.pooled",)
        ...     def value(self, signals):
        ...         return signals["student.pooled"].norm(dim=1)
        >>> norm = Norm(decay=0.5)
        >>> norm.begin(Samples(torch.arange(2)))
        >>> norm.observe(torch.tensor([1]), {"student.pooled": torch.tensor([[3.0, 4.0]])})
        >>> norm.values
        tensor([0., 5.])
    """

    def __init__(self, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay}: must be from 0 to below 1; 0 keeps the latest value alone")
        self.decay = decay

    def begin(self, samples: Samples) -> None:
        super().begin(samples)
        self.seen = torch.zeros(len(samples.index), dtype=torch.bool, device=samples.index.device)

    def observe(self, positions: Tensor, signals: Mapping[str, Tensor]) -> None:
        positions, rows = latest(positions)
        self.learn(positions, self.value(signals)[rows])

    def learn(self, positions: Tensor, value: Tensor) -> None:
        """Take the values (B,) of the samples at these positions into their means."""
        before = torch.where(self.seen[positions], self.values[positions], value)
        self.values[positions] = self.decay * before + (1 - self.decay) * value
        self.seen[positions] = True

    def known(self) -> Tensor:
        return self.seen

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        """Of a batch's samples, (B,)."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.values, self.seen = state["values"], state["seen"]


class StudentLoss(Running):
    """A running mean of the student's cross-entropy, as it trains; `logits` and `target` name its signals.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples, StudentLoss
        >>> loss = StudentLoss(decay=0.5)
        >>> loss.begin(Samples(torch.arange(2)))
        >>> answers = {"student.logits": torch.zeros(1, 2), "target": torch.tensor([0])}
        >>> loss.observe(torch.tensor([1]), answers)
        >>> round(float(loss.values[1]), 4)  # log 2
        0.6931
    """

    def __init__(self, decay: float = 0.9, logits: str = "student.logits", target: str = "target") -> None:
        super().__init__(decay)
        self.observes = logits, target

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        logits, target = (signals[name] for name in self.observes)
        return F.cross_entropy(logits, target, reduction="none")


class Disagreement(Running):
    """A running mean of KL(teacher ‖ student) of the probabilities, as the student trains.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Disagreement, Samples
        >>> disagreement = Disagreement()
        >>> disagreement.begin(Samples(torch.arange(2)))
        >>> answers = {"student.logits": torch.zeros(1, 2), "teacher.logits": torch.tensor([[2.0, 0.0]])}
        >>> disagreement.observe(torch.tensor([0]), answers)
        >>> round(float(disagreement.values[0]), 4)
        0.3278
    """

    def __init__(self, decay: float = 0.9, student: str = "student.logits", teacher: str = "teacher.logits") -> None:
        super().__init__(decay)
        self.observes = student, teacher

    def value(self, signals: Mapping[str, Tensor]) -> Tensor:
        student, teacher = (F.log_softmax(signals[name], dim=1) for name in self.observes)
        return F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)


class Flips(Running):
    """How often the student forgot a sample: was right, and wrong the next time (Toneva et al. 2019, arXiv:1812.05159).

    A sample that was never right counts as forgotten more often than any other, as in the paper.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Flips, Samples
        >>> flips, first = Flips(), torch.tensor([0])
        >>> flips.begin(Samples(torch.arange(2)))
        >>> for logits in ([1.0, 0.0], [0.0, 1.0], [1.0, 0.0]):  # right, wrong, right again
        ...     flips.observe(first, {"student.logits": torch.tensor([logits]), "target": first})
        >>> flips.values
        tensor([1., 2.])
    """

    def __init__(self, logits: str = "student.logits", target: str = "target") -> None:
        super().__init__(decay=0.0)
        self.observes = logits, target

    def begin(self, samples: Samples) -> None:
        super().begin(samples)
        self.was_right = torch.zeros_like(self.seen)
        self.learned = torch.zeros_like(self.seen)
        self.counts = torch.zeros_like(self.values)

    def observe(self, positions: Tensor, signals: Mapping[str, Tensor]) -> None:
        logits, target = (signals[name] for name in self.observes)
        positions, rows = latest(positions)
        is_right = (logits.argmax(dim=1) == target)[rows]
        forgotten = (self.was_right[positions] & ~is_right).to(self.counts.dtype)
        self.counts[positions] += forgotten
        self.was_right[positions] = is_right
        self.learned[positions] |= is_right
        self.values = torch.where(self.learned, self.counts, self.counts.max() + 1)

    def state_dict(self) -> dict[str, Any]:
        own = {"was_right": self.was_right, "learned": self.learned, "counts": self.counts}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.was_right, self.learned, self.counts = state["was_right"], state["learned"], state["counts"]


def latest(positions: Tensor) -> tuple[Tensor, Tensor]:
    """The positions (B,) of a batch in ascending order, and the last row of the batch that has each, int64 (B,).

    One that is there twice comes twice, with the same row, so that it does not matter which of them is written last.
    Nothing waits for the device.
    """
    ordered, rows = positions.sort(stable=True)
    return ordered, rows[torch.searchsorted(ordered, ordered, right=True) - 1]
