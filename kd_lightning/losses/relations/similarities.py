"""Losses on the relations between the examples of a batch, as modules."""

from torch import Tensor

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import (
    as_number,
    as_whole,
    check_constant,
    check_not_negative,
    check_positive,
    check_whole,
)
from kd_lightning.losses.relations.embedding import Embedding
from kd_lightning.losses.whole_batch import BatchRelations
from kd_lightning.schedules.progress import Number, Schedule


class SimilarityPreserving(BatchRelations):
    """Similarity preserving; see `functional.similarity_preserving`. Takes two features (B, ...) of any shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import SimilarityPreserving
        >>> SimilarityPreserving()(torch.rand(8, 16, 4, 4), torch.rand(8, 64)).shape
        torch.Size([])
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.batch(student, teacher)
        return functional.similarity_preserving(student, teacher)


class CorrelationCongruenceAdjacent(BatchRelations):
    """Correlation congruence as in RepDistiller; see `functional.correlation_congruence_adjacent`.

    Takes two features (B, ...) of any shapes. A linear embedding of each, made by `build`, brings them to one width;
    both are trained, as published.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CorrelationCongruenceAdjacent
        >>> student, teacher = torch.rand(8, 16), torch.rand(8, 64)
        >>> loss = CorrelationCongruenceAdjacent(embedding=32)
        >>> loss.build(student, teacher)  # makes the embeddings, as a `Term` does
        >>> loss(student, teacher).shape
        torch.Size([])
    """

    def __init__(self, embedding: int = 128, gather: bool = False) -> None:
        super().__init__(gather)
        check_constant(embedding=embedding)
        check_positive(embedding=embedding)
        self.width = embedding

    def build(self, student: Tensor, teacher: Tensor) -> None:
        self.embed_student = Embedding(student, self.width)
        self.embed_teacher = Embedding(teacher, self.width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.batch(self.embed_student(student), self.embed_teacher(teacher))
        return functional.correlation_congruence_adjacent(student, teacher)


class CorrelationCongruenceKernel(BatchRelations):
    """Correlation congruence of the paper; see `functional.correlation_congruence_kernel`.

    Takes two features (B, D_s) and (B, D_t) as they are: a trained embedding of the teacher could make the loss 0.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CorrelationCongruenceKernel
        >>> CorrelationCongruenceKernel()(torch.rand(8, 16), torch.rand(8, 64)).shape
        torch.Size([])
    """

    def __init__(self, gamma: Number = 0.4, order: int | Schedule = 2, gather: bool = False) -> None:
        super().__init__(gather)
        check_positive(gamma=gamma)
        check_whole(order=order)
        self.gamma, self.order = as_number(gamma), as_whole(order)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.batch(student, teacher)
        return functional.correlation_congruence_kernel(student, teacher, self.gamma, self.order)


class RKD(BatchRelations):
    """Relational distillation; see `functional.rkd`. Takes two embeddings (B, D_s) and (B, D_t).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import RKD
        >>> teacher = torch.rand(8, 64)
        >>> bool(RKD()(2 * teacher, teacher) < 1e-6)  # distances count in units of their mean
        True
    """

    def __init__(self, distance_weight: Number = 25.0, angle_weight: Number = 50.0, gather: bool = False) -> None:
        super().__init__(gather)
        check_not_negative(distance_weight=distance_weight, angle_weight=angle_weight)
        self.distance_weight, self.angle_weight = as_number(distance_weight), as_number(angle_weight)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.batch(student, teacher)
        return functional.rkd(student, teacher, self.distance_weight, self.angle_weight)


class PKT(BatchRelations):
    """Probabilistic knowledge transfer; see `functional.pkt`. Takes two embeddings (B, D_s) and (B, D_t).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import PKT
        >>> student, teacher = torch.rand(8, 16), torch.rand(8, 64)
        >>> bool(PKT()(student, teacher) > PKT()(teacher, teacher))
        True
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.batch(student, teacher)
        return functional.pkt(student, teacher)
