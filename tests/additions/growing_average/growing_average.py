"""A teacher that averages its student, and forgets the first steps soon."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd_lightning.sources import Source, UntrainedSource


class GrowingAverage(UntrainedSource):
    """w ← d·w + (1 - d)·w_student after step n, with d = min(decay, n / (n + 9)); it begins as the student."""

    signals = ["logits"]  # noqa: RUF012
    steps: Tensor

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("steps", torch.zeros(()))

    def begin(self, sources: Mapping[str, Source]) -> None:
        self.network = copy.deepcopy(sources["student"].network)
        self.freeze()

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"logits": self.network(batch["input"])}

    @torch.no_grad()
    def after_step(self, sources: Mapping[str, Source], progress: Any) -> None:
        self.steps += 1
        new = 1 - (self.steps / (self.steps + 9)).clamp(max=self.decay)
        for own, value in zip(self.network.parameters(), sources["student"].network.parameters(), strict=True):
            own.lerp_(value, new)

    def identity(self) -> dict[str, Any]:
        return {"growing_average": self.decay}
