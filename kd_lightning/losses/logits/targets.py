"""Losses that match labels or the teacher's outputs, sample by sample."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_labels, check_positive, check_same_classes, check_share
from kd_lightning.losses.class_weights import BALANCED, balanced_weights, given_weights
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import labelled
from kd_lightning.schedules.progress import Number


class CrossEntropy(nn.Module):
    """Cross-entropy with the labels; see `functional.cross_entropy`. Takes logits (B, C) and target (B,).

    Args:
        label_smoothing: the share of the label's probability that goes to all classes alike.
        class_weights: what each class counts, C numbers; or `balanced`, the inverse of its share of the training
            labels, N/(C·N_c), which a `DistillationModule` with a `training_set` finds before it trains.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CrossEntropy
        >>> logits, target = torch.zeros(2, 10), torch.tensor([3, -1])  # the second sample has no label
        >>> CrossEntropy()(logits, target)
        tensor(2.3026)
        >>> CrossEntropy(label_smoothing=0.1)(logits, target, reduction="none")
        tensor([2.3026, 0.0000])
        >>> CrossEntropy(class_weights=[3.0, 1.0])(torch.zeros(2, 2), torch.tensor([0, 1]))  # (3 + 1) / 2 · log 2
        tensor(1.3863)
    """

    outputs = "classes"
    synchronizes_buffers = True  # the weights, which all ranks find by themselves
    weights: Tensor | None

    def __init__(
        self,
        label_smoothing: Number = 0.0,
        class_weights: Sequence[float] | Literal["balanced"] | None = None,
    ) -> None:
        super().__init__()
        check_share(label_smoothing=label_smoothing)
        self.label_smoothing = as_number(label_smoothing)
        self.class_weights = class_weights
        self.register_buffer("weights", given_weights(class_weights), persistent=False)

    @property
    def needs_training_labels(self) -> bool:
        """Whether `see_labels` has to be called first."""
        return self.class_weights == BALANCED

    def see_labels(self, labels: Tensor | None, classes: int | None) -> None:
        """See the training labels, (N,), and how many classes there are, as far as both are known.

        Raises `UserError` where they do not go with the class weights.
        """
        if self.needs_training_labels:
            self.weights = balanced_weights(labels, classes)
        elif self.weights is not None and classes is not None and len(self.weights) != classes:
            raise UserError(
                f"loss.class_weights={self.class_weights}: are {len(self.weights)} weights, and there are {classes} "
                "classes; give one for each, or balanced"
            )

    def forward(self, logits: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_labels(logits, target)
        if self.class_weights is not None:
            self._check_weights(logits)
        return functional.cross_entropy(logits, target, self.label_smoothing, self.weights, reduction=reduction)

    def _check_weights(self, logits: Tensor) -> None:
        if self.weights is None:
            raise UserError(
                "class_weights=balanced: the training labels are not known; give DistillationModule a training_set, or "
                "call see_labels"
            )
        if len(self.weights) != logits.shape[1]:
            raise UserError(
                f"class_weights={self.class_weights}: are {len(self.weights)} weights for {logits.shape[1]} logits; "
                "give one for each class"
            )

    def counted(self, logits: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)


class HardLabel(nn.Module):
    """The teacher's decision as the label; see `functional.hard_label`. Takes both logits (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import HardLabel
        >>> HardLabel()(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]))
        tensor(0.6931)
    """

    soft_target = True  # beside it, too, cross-entropy weighs 1 - alpha
    outputs = "classes"

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        return functional.hard_label(student, teacher, reduction=reduction)


class SoftTarget(nn.Module):
    """Hinton's distillation loss; see `functional.kd`. Takes the logits of student and teacher, both (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import SoftTarget
        >>> from kd_lightning.schedules import Linear
        >>> student, teacher = torch.randn(8, 10, requires_grad=True), torch.randn(8, 10)
        >>> loss = SoftTarget(temperature=4.0)
        >>> loss(student, teacher).backward()
        >>> loss(student, teacher, reduction="none").shape
        torch.Size([8])
        >>> falling = SoftTarget(temperature=Linear(8, 1))  # over a training, in a `Term`
    """

    soft_target = True  # beside it cross-entropy weighs 1 - alpha
    outputs = "classes"

    def __init__(self, temperature: Number = 4.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = as_number(temperature)

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        return functional.kd(student, teacher, self.temperature, reduction=reduction)


class MeanSquaredLogits(nn.Module):
    """Squared distance of logits; see `functional.mean_squared_logits`. Takes both logits (B, C).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import MeanSquaredLogits
        >>> MeanSquaredLogits()(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor(2.)
    """

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        return functional.mean_squared_logits(student, teacher, reduction=reduction)


class WSLD(nn.Module):
    """Weighted soft labels; see `functional.wsld`. Takes both logits (B, C) and target (B,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import WSLD
        >>> student, teacher, target = torch.randn(8, 10), torch.randn(8, 10), torch.arange(8)
        >>> WSLD(temperature=2.0)(student, teacher, target, reduction="none").shape
        torch.Size([8])
    """

    outputs = "classes"

    def __init__(self, temperature: Number = 2.0) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = as_number(temperature)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        check_labels(student, target)
        return functional.wsld(student, teacher, target, self.temperature, reduction=reduction)

    def counted(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)
