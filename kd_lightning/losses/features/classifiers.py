"""Losses through a network's linear classifier, or in front of one, as modules."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_whole, check_whole
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.layers import check_equal_channels, check_maps
from kd_lightning.schedules.progress import Schedule


class SimKD(nn.Module):
    """The hint of a student that reuses the teacher's classifier; see `functional.simkd`.

    Takes the student's projected map and the teacher's last one, (B, C, H, W). There is no other loss beside it.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import SimKD
        >>> SimKD()(torch.ones(2, 8, 4, 4), torch.zeros(2, 8, 2, 2))
        tensor(1.)
    """

    any_memory_format = True

    def build(self, student: Tensor, teacher: Tensor) -> None:
        check_maps([student], [teacher])
        check_equal_channels([student], [teacher])

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        return functional.simkd(student, teacher, reduction=reduction)


class SRRL(nn.Module):
    """Softmax regression representation learning; see `functional.srrl`.

    Takes the student's pooled feature in the teacher's width (give its term the projector `SRRLConnector`), the
    teacher's (B, D), the teacher's logits (B, C), and the weight (C, D) and bias (C,) of the teacher's classifier.

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> from kd_lightning.losses import SRRL
        >>> student, teacher = torch.randn(8, 16), torch.randn(8, 64)
        >>> classifier = torch.nn.Linear(64, 10)
        >>> projected = projectors.SRRLConnector((16,), (64,))(student)
        >>> SRRL()(projected, teacher, classifier(teacher), classifier.weight, classifier.bias).shape
        torch.Size([])
    """

    any_memory_format = True

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        teacher_logits: Tensor,
        weight: Tensor,
        bias: Tensor,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        logits = F.linear(student, weight, bias)
        return functional.srrl(student, teacher, logits, teacher_logits, reduction=reduction)


class CATKD(nn.Module):
    """Class attention transfer; see `functional.cat_kd`. The student's classifier learns from it, too.

    Takes the student's last map (B, D_s, H, W) and its classifier's weight (C, D_s), then the teacher's two. The maps
    are pooled before the classifier's weight is applied, which commutes and needs less memory.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import CATKD
        >>> student, teacher = torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4)
        >>> CATKD(resolution=2)(student, torch.rand(10, 16), teacher, torch.rand(10, 64)).shape
        torch.Size([])
    """

    any_memory_format = True

    def __init__(self, resolution: int | Schedule = 2, normalize: bool = True) -> None:
        super().__init__()
        check_whole(resolution=resolution)
        self.resolution, self.normalize = as_whole(resolution), normalize

    def build(self, student: Tensor, student_weight: Tensor, teacher: Tensor, teacher_weight: Tensor) -> None:
        """Build for these shapes. Raises UserError where the classes differ, or there is one position."""
        check_maps([student], [teacher])
        classes, wanted = student_weight.shape[0], teacher_weight.shape[0]
        if classes != wanted:
            raise UserError(
                f"signals={classes} classes of the student, {wanted} of the teacher: class attention transfer needs "
                "equal ones; choose a pair with the same classes"
            )
        if self.normalize and min(student.shape[2:].numel(), teacher.shape[2:].numel()) == 1:
            raise UserError(
                f"signals={tuple(student.shape[1:])} and {tuple(teacher.shape[1:])}: a map of one position shows no "
                "place; name a larger one in taps, or leave the term out"
            )

    def forward(
        self,
        student: Tensor,
        student_weight: Tensor,
        teacher: Tensor,
        teacher_weight: Tensor,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        return functional.cat_kd(
            self._activations(student, student_weight),
            self._activations(teacher, teacher_weight),
            self.resolution,
            self.normalize,
            reduction=reduction,
        )

    def _activations(self, feature: Tensor, weight: Tensor) -> Tensor:
        return functional.class_activation_maps(F.adaptive_avg_pool2d(feature, self.resolution), weight)
