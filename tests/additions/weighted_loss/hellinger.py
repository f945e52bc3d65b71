"""The Hellinger distance of two predictions, weighted by how much they disagree."""

import torch.nn.functional as F
from torch import Tensor, nn


class Hellinger(nn.Module):
    """1 - Σ √(p_s·p_t), the squared distance of each sample's predictions (Hellinger 1909). Logits (B, C) give (B,)."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return 1 - ((F.log_softmax(student, dim=1) + F.log_softmax(teacher, dim=1)) / 2).exp().sum(dim=1)


class Disagreement:
    """Samples for which student and teacher name different classes count `different`, the others 1."""

    signals = ("student.logits", "teacher.logits")

    def __init__(self, different: float = 2.0) -> None:
        self.different = different

    def __call__(self, signals: dict[str, Tensor]) -> Tensor:
        classes = [signals[name].argmax(dim=1) for name in self.signals]
        return (classes[0] != classes[1]) * (self.different - 1) + 1.0
