"""Classes in an order, such as grades: what counts is how far off an answer is."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection

from kd_lightning.losses import CrossEntropy
from kd_lightning.tasks import Column, Task


class Distance(MeanMetric):
    def update(self, logits: Tensor, target: Tensor) -> None:
        super().update((logits.argmax(dim=1) - target).abs())


class Distances(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(10, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        self.counts += (logits.argmax(dim=1) - target).abs().bincount(minlength=10)

    def compute(self) -> dict[str, Tensor]:
        return {"distances": self.counts}


class Ordinal(Task):
    columns = (Column("distance", "mean distance", ".3f", higher_is_better=False),)
    loss, predictions = staticmethod(CrossEntropy), staticmethod(Distances)

    def metrics(self, stage: str) -> MetricCollection:
        return MetricCollection({"distance": Distance()})

    def figures(self, arrays: Mapping[str, Mapping]) -> Mapping:
        bars = [{"type": "bar", "name": role, "y": one["distances"]} for role, one in arrays.items() if role != "data"]
        return {"How far off": {"data": bars, "layout": {"xaxis": {"title": {"text": "classes between"}}}}}
