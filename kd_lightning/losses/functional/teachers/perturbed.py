"""One teacher made several by noise."""

from torch import Tensor


def perturbed(teacher: Tensor, noise: Tensor, share: float = 0.1) -> Tensor:
    """What a teacher says with a share of noise in it: (1 - λ)·t + λ·n.

    TeKAP, Hossain et al. 2025, ICLR, openreview.net/forum?id=DmEHmZ89iB. Shapes: equal ones, of any dimensions.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import perturbed
        >>> perturbed(torch.tensor([10.0]), torch.tensor([-1.0]), share=0.1)
        tensor([8.9000])
    """
    return (1 - share) * teacher + share * noise
