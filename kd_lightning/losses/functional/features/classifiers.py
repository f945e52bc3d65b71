"""Losses through a network's linear classifier, or in front of one."""

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, check_logits, squared_distance
from kd_lightning.losses.functional.sizes import to_smaller, unit


def simkd(student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Reused classifier: the mean of (student - teacher)², on what enters the pooling before the teacher's classifier.

    Chen et al. 2022, arXiv:2203.14001. The student's map is already projected; of two sizes the larger map is
    average-pooled to the smaller. Shapes: (B, C, H_s, W_s) and (B, C, H_t, W_t).
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import simkd
        >>> simkd(torch.ones(2, 8, 4, 4), torch.zeros(2, 8, 2, 2))
        tensor(1.)
    """
    return squared_distance(*to_smaller(student, teacher), reduction)


def srrl(
    student: Tensor,
    teacher: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax regression representation learning: mean((e_s - e_t)²) + mean((z' - z_t)²), z' = W_t·e_s + b_t.

    Yang, Martinez, Bulat, Tzimiropoulos 2021, ICLR, openreview.net/forum?id=ZzwDy_wiWv.
    Shapes: e_s, the student's projected feature, and e_t (B, D); z', what the teacher's classifier makes of e_s, and
    z_t (B, C). Returns a scalar, or (B,) for the reduction `none`. ValueError for other logits.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import srrl
        >>> feature, logits = torch.ones(2, 8), torch.ones(2, 10)
        >>> srrl(feature, feature - 1, logits, logits - 2)
        tensor(5.)
    """
    check_logits(student_logits, teacher_logits)
    of_features = squared_distance(student, teacher, reduction)
    return of_features + squared_distance(student_logits, teacher_logits, reduction)


def class_activation_maps(feature: Tensor, weight: Tensor) -> Tensor:
    """CAM_k = Σ_c W_kc·f_c, the map of each class's evidence (Zhou et al. 2016, arXiv:1512.04150).

    Shapes: feature (B, D, H, W), the classifier's weight (C, D). Returns (B, C, H, W).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import class_activation_maps
        >>> class_activation_maps(torch.rand(2, 64, 8, 8), torch.rand(10, 64)).shape
        torch.Size([2, 10, 8, 8])
    """
    return F.conv2d(feature, weight[:, :, None, None])


def cat_kd(
    student: Tensor, teacher: Tensor, resolution: int = 2, normalize: bool = True, *, reduction: Reduction = "mean"
) -> Tensor:
    """Class attention transfer: mean((A_s - A_t)²), A the class activation maps pooled to resolution x resolution.

    Each class's map has unit L2 norm over its positions if `normalize`; a map of zeros stays one, with gradient 0.
    Guo et al. 2023, arXiv:2304.12777; the published runs of some pairs do not normalize.
    Shapes: class activation maps (B, C, H_s, W_s) and (B, C, H_t, W_t).
    Returns a scalar, or (B,) for the reduction `none`.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import cat_kd
        >>> student, teacher = torch.rand(2, 10, 8, 8), torch.rand(2, 10, 4, 4)
        >>> cat_kd(student, teacher, reduction="none").shape
        torch.Size([2])
        >>> bool(cat_kd(teacher, 3 * teacher) < 1e-6)  # maps of unit norm
        True
    """
    s, t = (F.adaptive_avg_pool2d(maps, resolution) for maps in (student, teacher))
    if normalize:
        s, t = unit(s, (2, 3)), unit(t, (2, 3))
    return squared_distance(s, t, reduction)
