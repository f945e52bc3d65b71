"""What a classifier answers, class by class: more than a number, for figures."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.losses.functional.samples import has_label
from kd_lightning.tasks.metrics import join_equals, ratio_of_two_largest

BINS = 15
TEMPERATURES = (1, 2, 4, 8, 16)
CELLS = 10**6  # of the mean probabilities that are held: all of 1,000 classes; of more each class's highest
FEWEST = 10  # of a class
MOST_PAIRS = 10_000
AT_ONCE = 1_000  # classes, whose probabilities are looked through together
ARRAYS = ("confusions", "bins", "soft_labels", "entropy", "ratio")


class Predictions(Metric):
    """Confusions, reliability, mean probabilities by class, entropies, ratios. Takes logits (N, C) and target (N,).

    Samples without a label, -1 or -100, do not count. Nothing that is held has the size of C².

    `compute` gives `confusions` (K, 3), rows of true class, predicted class and number of images, which is 1 or more;
    `bins` (15, 3), of equal bins of confidence the count, the mean confidence and the accuracy; `soft_labels` (P, 3),
    rows of true class, another class and its mean probability over the images of the true one, the highest
    `MOST_PAIRS` of them in descending order, and exact up to 1,000 classes; `entropy` (5, 2), a temperature and the
    mean entropy of the probabilities at it, in nats; `ratio` (2,), the mean ratio of the two largest logits, 0 of none,
    and of how many samples.
    """

    full_state_update = False
    cells: list[Tensor] | Tensor
    hits: Tensor
    confidence: Tensor
    counts: Tensor
    likely: Tensor
    mass: Tensor
    entropy: Tensor
    ratio: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        held = min(num_classes, max(FEWEST, CELLS // num_classes))
        self.add_state("cells", [], dist_reduce_fx="cat")
        for name in ("counts", "hits"):
            self.add_state(name, torch.zeros(BINS, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("confidence", torch.zeros(BINS), dist_reduce_fx="sum")
        self.add_state("likely", torch.arange(held).repeat(num_classes, 1), dist_reduce_fx=None)
        self.add_state("mass", torch.zeros(num_classes, held), dist_reduce_fx=None)
        self.add_state("entropy", torch.zeros(len(TEMPERATURES)), dist_reduce_fx="sum")
        self.add_state("ratio", torch.zeros(2), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        # index_add_ throughout: bincount and one_hot, and a choice of rows, would wait for the device.
        counted = has_label(target)
        target, ones = torch.where(counted, target.long(), 0), counted.long()
        logits = torch.where(counted[:, None], logits.float(), 0.0)
        probabilities = logits.softmax(dim=1)
        confidence, predicted = probabilities.max(dim=1)
        assert isinstance(self.cells, list)
        self.cells.append(torch.where(counted, target * self.num_classes + predicted, -1))
        join_equals(self.cells)
        bins = (confidence * BINS).long().clamp(0, BINS - 1)
        self.counts.index_add_(0, bins, ones)
        self.hits.index_add_(0, bins, (predicted == target).long() * ones)
        self.confidence.index_add_(0, bins, confidence * ones)
        self._add(target, probabilities * ones[:, None])
        entropies = (torch.special.entr((logits / each).softmax(dim=1)).sum(dim=1) for each in TEMPERATURES)
        self.entropy += torch.stack([each.dot(ones.float()) for each in entropies])
        ratio = ratio_of_two_largest(logits)
        there = counted & ratio.isfinite()
        self.ratio += torch.stack([torch.where(there, ratio, 0.0).sum(), there.float().sum()])

    def _add(self, target: Tensor, probabilities: Tensor) -> None:
        """Add probabilities (N, C) to what their true classes (N,) hold, of which each keeps the highest sums."""
        rows = torch.arange(len(target), device=target.device)
        first = torch.zeros(self.num_classes, dtype=torch.long, device=target.device)
        first = first.scatter_reduce(0, target, rows, "amin", include_self=False)[target]  # of each class
        before = torch.where((first == rows)[:, None], self.mass[target], 0.0)
        sums = torch.zeros_like(probabilities).scatter_add_(1, self.likely[target], before)
        highest, classes = sums.index_add_(0, first, probabilities).topk(self.mass.shape[1], dim=1)
        self.likely[target], self.mass[target] = classes[first], highest[first]

    def compute(self) -> dict[str, Tensor]:
        cells = dim_zero_cat(self.cells)
        cells, images = cells[cells >= 0].unique(return_counts=True)
        true, predicted = cells // self.num_classes, cells % self.num_classes
        of_class = torch.zeros(self.num_classes, dtype=torch.long, device=cells.device).index_add_(0, true, images)
        in_bin = self.counts.clamp(min=1)
        bins = torch.stack([self.counts.float(), self.confidence / in_bin, self.hits / in_bin], dim=1)
        temperatures = torch.tensor(TEMPERATURES, device=self.entropy.device, dtype=self.entropy.dtype)
        return {
            "confusions": torch.stack([true, predicted, images], dim=1),
            "bins": bins,
            "soft_labels": self._soft_labels(of_class.clamp(min=1)),
            "entropy": torch.stack([temperatures, self.entropy / images.sum().clamp(min=1)], dim=1),
            "ratio": torch.stack([self.ratio[0] / self.ratio[1].clamp(min=1), self.ratio[1]]),
        }

    def _soft_labels(self, images: Tensor) -> Tensor:
        """The highest mean probabilities of other classes (P, 3); images (C,) are those of each class."""
        best = self.mass.new_empty(0, 3)
        for own in torch.arange(self.num_classes, device=images.device).split(AT_ONCE):
            likely, held = self.likely[..., own, :], self.mass[..., own, :]  # (len(own), K), with ranks one more before
            pairs, of_rank = (own[:, None] * self.num_classes + likely).flatten().unique(return_inverse=True)
            mass = held.new_zeros(len(pairs)).index_add_(0, of_rank, held.flatten())
            true, other = pairs // self.num_classes, pairs % self.num_classes
            mean = torch.where(true == other, 0.0, mass / images[true])
            best = torch.cat([best, torch.stack([true, other, mean], dim=1)])
            best = best[best[:, 2].argsort(descending=True, stable=True)[:MOST_PAIRS]]
        return best[best[:, 2] > 0]
