"""Relations of predictions by correlation."""

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import check_logits

EPSILON = 1e-8  # of the public code, added to the product of the two norms


def dist(student: Tensor, teacher: Tensor, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0) -> Tensor:
    """T²·[β·(1 - mean over rows of ρ) + γ·(1 - mean over columns of ρ)], ρ = Pearson's correlation of p_s and p_t.

    p = softmax(logits/T). A row is an image, a column a class over the batch: the second part depends on which images
    share the batch. A constant row or column correlates with
    nothing, nor with itself: ρ = 0; close to it the slope is steep, up to 1e8. Huang et al. 2022, arXiv:2205.10536.
    Shapes: both (B, C). Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import dist
        >>> student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        >>> dist(student, teacher, beta=0.0, gamma=0.0)
        tensor(0.)
        >>> bool(dist(teacher, teacher) < 1e-3)
        True
    """
    check_logits(student, teacher)
    p_student, p_teacher = (F.softmax(logits / temperature, dim=1) for logits in (student, teacher))
    between_classes = 1 - _correlation(p_student, p_teacher).mean()
    within_classes = 1 - _correlation(p_student.T, p_teacher.T).mean()
    return temperature**2 * (beta * between_classes + gamma * within_classes)


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each row of a with that of b."""
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON)
