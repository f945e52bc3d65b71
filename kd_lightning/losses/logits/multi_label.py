"""Losses of classes that exclude none, sample by sample."""

from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_positive, check_same_classes, naming_shapes
from kd_lightning.losses.functional.samples import Reduction, has_label
from kd_lightning.schedules.progress import Number


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of each class; see `functional.bce`. Takes logits (B, C) and target (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import BinaryCrossEntropy
        >>> BinaryCrossEntropy()(torch.zeros(1, 3), torch.tensor([[1, 0, -1]]))  # the third class has no label
        tensor(0.6931)
    """

    outputs = "labels"

    def forward(self, logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(logits)
        with naming_shapes(target=target):
            return functional.bce(logits, target, reduction=reduction)

    def counted(self, logits: Tensor, target: Tensor) -> Tensor:
        return has_label(target).any(dim=1)


class BernoulliKD(nn.Module):
    """Soft targets of each class by itself; see `functional.bernoulli_kd`. Takes both logits (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import BernoulliKD
        >>> teacher = torch.randn(8, 10)
        >>> BernoulliKD(temperature=2.0)(teacher, teacher)
        tensor(0.)
    """

    soft_target = True  # beside it binary cross-entropy weighs 1 - alpha
    outputs = "labels"

    def __init__(self, temperature: Number = 1.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = as_number(temperature)

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        return functional.bernoulli_kd(student, teacher, self.temperature, reduction=reduction)
