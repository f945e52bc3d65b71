"""What a classifier answers, class by class: more than a number, for figures."""

import torch
from torch import Tensor
from torchmetrics import Metric

from kd_lightning.losses.functional.samples import has_label

BINS = 15
TEMPERATURES = (1, 2, 4, 8, 16)


class Predictions(Metric):
    """Confusions, reliability, mean probabilities by class and entropies. Takes logits (N, C) and target (N,).

    Samples without a label, -1 or -100, do not count.

    `compute` gives `confusion` (C, C), rows are true classes; `bins` (15, 3), of equal bins of confidence the count,
    the mean confidence and the accuracy; `soft` (C, C), the mean probabilities of each true class; `entropy` (5, 2),
    a temperature and the mean entropy of the probabilities at it, in nats. What has no images is 0.
    """

    full_state_update = False
    confusion: Tensor
    hits: Tensor
    confidence: Tensor
    counts: Tensor
    soft: Tensor
    entropy: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        sizes = {"confusion": num_classes**2, "counts": BINS, "hits": BINS}
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(size, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("confidence", torch.zeros(BINS), dist_reduce_fx="sum")
        self.add_state("soft", torch.zeros(num_classes, num_classes), dist_reduce_fx="sum")
        self.add_state("entropy", torch.zeros(len(TEMPERATURES)), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        # index_add_ throughout: bincount and one_hot, and a choice of rows, would wait for the device.
        counted = has_label(target)
        target, ones = torch.where(counted, target.long(), 0), counted.long()
        logits = torch.where(counted[:, None], logits.float(), 0.0)
        probabilities = logits.softmax(dim=1)
        confidence, predicted = probabilities.max(dim=1)
        self.confusion.index_add_(0, target * self.num_classes + predicted, ones)
        bins = (confidence * BINS).long().clamp(0, BINS - 1)
        self.counts.index_add_(0, bins, ones)
        self.hits.index_add_(0, bins, (predicted == target).long() * ones)
        self.confidence.index_add_(0, bins, confidence * ones)
        self.soft.index_add_(0, target, probabilities * ones[:, None])
        softened = [(logits / temperature).softmax(dim=1) for temperature in TEMPERATURES]
        self.entropy += torch.stack([torch.special.entr(each).sum(dim=1).dot(ones.float()) for each in softened])

    def compute(self) -> dict[str, Tensor]:
        confusion = self.confusion.view(self.num_classes, self.num_classes)
        images = confusion.sum(dim=1, keepdim=True)
        in_bin = self.counts.clamp(min=1)
        bins = torch.stack([self.counts.float(), self.confidence / in_bin, self.hits / in_bin], dim=1)
        temperatures = torch.tensor(TEMPERATURES, device=self.entropy.device, dtype=self.entropy.dtype)
        return {
            "confusion": confusion,
            "bins": bins,
            "soft": self.soft / images.clamp(min=1),
            "entropy": torch.stack([temperatures, self.entropy / images.sum().clamp(min=1)], dim=1),
        }
