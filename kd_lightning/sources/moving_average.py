"""A moving average of a network that is trained beside it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import Progress
from kd_lightning.sources.learner import Learner, learner_named
from kd_lightning.sources.network import TappedNetwork
from kd_lightning.sources.source import Source, UntrainedSource


class MovingAverage(TappedNetwork, UntrainedSource):
    """A learner's weights, averaged over its steps: w ← d·w + (1 - d)·w_learner after each; buffers are copied.

    It begins as a copy of the learner, and gives what that gives. The mean teacher of Tarvainen, Valpola 2017,
    arXiv:1703.01780. Its weights, and how many steps it has followed, are in checkpoints; steps that were skipped count
    not.

    Args:
        decay: d, above 0 and below 1.
        of: the learner's name; None where there is one alone.
        warmup: whether d begins lower, as min(decay, (1 + t) / (10 + t)) after t steps, so that the average of a short
            training is not that of its random beginning.

    Raises UserError for another decay, or another switch.

    Examples:
        >>> import torch
        >>> from kd_lightning import DistillationModule, Term
        >>> from kd_lightning.losses import MeanSquaredLogits
        >>> from kd_lightning.sources import MovingAverage
        >>> student = torch.nn.Linear(16, 10)
        >>> terms = {"consistency": Term(MeanSquaredLogits(), ["student.logits", "teacher.logits"])}
        >>> module = DistillationModule(student=student, teacher=MovingAverage(decay=0.99), terms=terms)
        >>> torch.equal(module.teacher.network.weight, student.weight)  # before the first step
        True
    """

    def __init__(self, decay: float = 0.999, of: str | None = None, warmup: bool = False) -> None:
        super().__init__()
        check_decay(decay)
        if not isinstance(warmup, bool):
            raise UserError(f"warmup={warmup}: must be true or false")
        self.decay, self.warmup = decay, warmup
        self.of = of
        self.updates = 0

    def begin(self, sources: Mapping[str, Source]) -> None:
        """Copy the learner. Raises UserError where there is none of this name, or the choice is open."""
        self.of = learner_named(self.of, sources, f"{self.role}.of".lstrip("."), "name the learner to average")
        learner = sources[self.of]
        assert isinstance(learner, Learner)
        self.network = copy.deepcopy(learner.network)
        self.read_by(learner.taps, learner.num_classes)
        self.freeze()

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.reader(batch["input"])

    @torch.no_grad()
    def after_step(self, sources: Mapping[str, Source], progress: Progress) -> None:
        assert self.of is not None
        learner = sources[self.of]
        assert isinstance(learner, Learner)
        decay = decay_after(self.updates, self.decay, self.warmup)
        torch._foreach_lerp_([*self.network.parameters()], [*learner.network.parameters()], 1 - decay)
        self.updates += 1
        for own, buffer in zip(self.network.buffers(), learner.network.buffers(), strict=True):
            own.copy_(buffer)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        self.updates = int(state)

    def identity(self) -> dict[str, Any]:
        return {"moving_average_of": self.of, "decay": self.decay, **({"warmup": True} if self.warmup else {})}


def check_decay(decay: Any) -> None:
    """Raise `UserError` for what is no share of what an average was so far."""
    if not isinstance(decay, (int, float)) or not 0 < decay < 1:
        raise UserError(f"decay={decay}: must be above 0 and below 1, such as 0.999")


def decay_after(updates: int, decay: float, warmup: bool) -> float:
    """The decay of an average that has moved so often, lower at first with a warm-up."""
    return min(decay, (1 + updates) / (10 + updates)) if warmup else decay
