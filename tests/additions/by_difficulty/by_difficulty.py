"""From easy to hard: the samples on which the student's loss is low come first, and in early epochs alone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.curricula import Curriculum, Samples


class ByDifficulty(Curriculum):
    """Difficulty is a running mean of the student's cross-entropy; the share of samples grows to all in `epochs`."""

    observes = ("student.logits", "target")

    def __init__(self, start: float = 0.5, epochs: int = 4, momentum: float = 0.5) -> None:
        self.start, self.epochs, self.momentum = start, epochs, momentum

    def begin(self, samples: Samples) -> None:
        self.loss = torch.zeros(len(samples.index), device=samples.index.device)

    def draw(self, epoch: int, count: int) -> Tensor:
        if epoch == 0:  # in a random order, to see how hard each is
            return torch.randperm(len(self.loss))[:count]
        share = min(1.0, self.start + (1 - self.start) * (epoch - 1) / self.epochs)
        return self.loss.argsort(stable=True)[: max(1, int(share * count))]

    def observe(self, positions: Tensor, signals: dict[str, Tensor]) -> None:
        loss = F.cross_entropy(signals["student.logits"], signals["target"], reduction="none")
        self.loss[positions] = torch.lerp(self.loss[positions], loss, self.momentum)

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss = state["loss"]
