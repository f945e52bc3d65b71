"""Predictions of two views, compared by sample, by batch and by class."""

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_positive, check_same_classes
from kd_lightning.losses.whole_batch import BatchRelations
from kd_lightning.schedules.progress import Number


class MLKD(BatchRelations):
    """Multi-level logits of two views; see `functional.mlkd`. Takes four logits (B, C): student's and teacher's of the
    weak view, student's and teacher's of the strong one.

    Raises UserError for no temperatures, and for strong ones that are not among them.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import MLKD
        >>> weak, strong = torch.randn(2, 8, 10), torch.randn(2, 8, 10)  # student's and teacher's of each view
        >>> MLKD()(*weak, *strong).shape
        torch.Size([])
    """

    soft_target = True
    outputs = "classes"

    def __init__(
        self,
        temperatures: Sequence[Number] = (2.0, 3.0, 4.0, 5.0, 6.0),
        strong_temperatures: Sequence[Number] = (3.0, 4.0, 5.0),
        gather: bool = False,
    ) -> None:
        super().__init__(gather)
        if not temperatures:
            raise UserError(f"temperatures={list(temperatures)}: needs at least one, such as [4.0]")
        for temperature in temperatures:
            check_positive(temperatures=temperature)
        if not set(strong_temperatures) <= set(temperatures):
            raise UserError(
                f"strong_temperatures={list(strong_temperatures)}: must be among temperatures={list(temperatures)}"
            )
        self.temperatures = tuple(map(as_number, temperatures))
        self.strong_temperatures = tuple(map(as_number, strong_temperatures))

    def forward(self, student: Tensor, teacher: Tensor, student_strong: Tensor, teacher_strong: Tensor) -> Tensor:
        check_same_classes(student, teacher, student_strong, teacher_strong)
        student, teacher, student_strong, teacher_strong = self.batch(student, teacher, student_strong, teacher_strong)
        return functional.mlkd(
            student, teacher, student_strong, teacher_strong, self.temperatures, self.strong_temperatures
        )
