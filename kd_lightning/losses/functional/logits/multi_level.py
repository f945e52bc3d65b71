"""Multi-level logit distillation."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.logits.targets import kd
from kd_lightning.losses.functional.samples import check_logits


def class_correlation(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """‖P_sᵀP_s - P_tᵀP_t‖²_F / C, P = softmax(logits/T): which classes are taken for one another over the batch.

    Jin, Wang, Lin 2023 (CVPR). Shapes: both (B, C). Returns a scalar. Memory: B², for with D = P_s - P_t the norm is
    that of P_sᵀD + DᵀP_t, which is ⟨P_sP_sᵀ + P_tP_tᵀ, DDᵀ⟩ + 2⟨P_sDᵀ, DP_tᵀ⟩.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import class_correlation
        >>> logits = torch.eye(4, 3)
        >>> class_correlation(logits, logits)
        tensor(0.)
        >>> bool(class_correlation(logits, logits.flip(0)) < 1e-6)  # the order of the samples does not matter
        True
    """
    check_logits(student, teacher)
    p_student, p_teacher = (F.softmax(logits / temperature, dim=1) for logits in (student, teacher))
    apart = p_student - p_teacher
    squares = (p_student @ p_student.T + p_teacher @ p_teacher.T) * (apart @ apart.T)
    return (squares + 2 * (p_student @ apart.T) * (apart @ p_teacher.T)).sum() / student.shape[1]


def batch_correlation(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """‖P_sP_sᵀ - P_tP_tᵀ‖²_F / B, P = softmax(logits/T): which images of the batch are taken for alike.

    Jin, Wang, Lin 2023 (CVPR). Shapes: both (B, C). Returns a scalar. Memory: B².

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import batch_correlation
        >>> logits = torch.eye(4, 3)
        >>> batch_correlation(logits, logits)
        tensor(0.)
        >>> bool(batch_correlation(logits, logits.flip(0)) > 0)
        True
    """
    check_logits(student, teacher)
    p_student, p_teacher = (F.softmax(logits / temperature, dim=1) for logits in (student, teacher))
    return (p_student @ p_student.T - p_teacher @ p_teacher.T).square().sum() / student.shape[0]


def mlkd(
    student: Tensor,
    teacher: Tensor,
    student_strong: Tensor,
    teacher_strong: Tensor,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    strong_temperatures: Sequence[float] = (3.0, 4.0, 5.0),
) -> Tensor:
    """Multi-level logits: Σ over T of u·KD_weak + KD_strong + r·class_correlation_weak + u·batch_correlation_weak.

    Jin, Wang, Lin 2023, "Multi-Level Logit Distillation" (CVPR), pp. 24276-24285. Exactly what the public code trains,
    as the published numbers come from it:
    - u is the share of images whose confidence (the teacher's largest probability at T=1 on the weak view) is at most
      the batch's median, r the share of classes whose sum of probabilities over the batch is at most their median.
      They are about ½, and near 1 where most are tied. The code masks, but after the means: the masks act as shares.
    - KD_strong compares the weak views again at temperatures outside `strong_temperatures`, so there at 2 and 6.
      With `strong_temperatures` equal to `temperatures` it always compares the strong ones.
    - The correlations of the strong views are not in the sum.
    Shapes: all (B, C). Returns a scalar. Memory: B².

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mlkd
        >>> weak, strong = torch.randn(2, 8, 10), torch.randn(2, 8, 10)  # student's and teacher's of each view
        >>> mlkd(*weak, *strong).shape
        torch.Size([])
    """
    check_logits(student, teacher, student_strong, teacher_strong)
    weak, strong = (student, teacher), (student_strong, teacher_strong)
    with torch.no_grad():
        p_teacher = F.softmax(teacher, dim=1)
        unsure = _share_up_to_median(p_teacher.amax(dim=1))
        rare = _share_up_to_median(p_teacher.sum(dim=0))
    return torch.stack(
        [
            unsure * kd(*weak, t)
            + kd(*(strong if t in strong_temperatures else weak), t)
            + rare * class_correlation(*weak, t)
            + unsure * batch_correlation(*weak, t)
            for t in temperatures
        ]
    ).sum()


def _share_up_to_median(values: Tensor) -> Tensor:
    return (values <= values.quantile(0.5)).to(values.dtype).mean()
