"""The Brier score of a classifier (Brier 1950): the lower, the better."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from kd_lightning.tasks import Classification, Column


class Brier(Metric):
    """Mean squared distance of the probabilities from the label's one-hot vector. Takes logits (N, C), target (N,)."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        missing = torch.nn.functional.one_hot(target, logits.shape[1]) - logits.softmax(dim=1)
        self.total += missing.square().sum()
        self.count += len(target)

    def compute(self) -> Tensor:
        return self.total / self.count


class WithBrier(Classification):
    """Classification that is measured by the Brier score, too."""

    columns = (*Classification.columns, Column("brier", "Brier score", ".4f", higher_is_better=False))

    def metrics(self, stage: str) -> MetricCollection:
        found = super().metrics(stage)
        found.add_metrics({"brier": Brier()})
        return found
