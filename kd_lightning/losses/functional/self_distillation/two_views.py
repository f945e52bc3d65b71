"""Data-distortion guided self-distillation: two views of one image teach each other."""

from torch import Tensor

from kd_lightning.losses.functional.logits.targets import kd
from kd_lightning.losses.functional.samples import Reduction


def ddgsd(first: Tensor, second: Tensor, temperature: float | Tensor = 3.0, *, reduction: Reduction = "mean") -> Tensor:
    """DDGSD's posteriors: T²·[KL(p_b ‖ p_a) + KL(p_a ‖ p_b)] of two views' predictions, mean over the batch.

    Each view is the other one's teacher, so no gradient goes through the first argument of a divergence, as in public
    code (winycg/Self-Knowledge-Distillation-Lib). Xu, Liu 2019, AAAI, doi:10.1609/aaai.v33i01.33015565.
    Shapes: both logits (B, C). Returns a scalar, or (B,) for the reduction `none`. ValueError for other shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import ddgsd
        >>> first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> ddgsd(first, second, temperature=2.0)
        tensor(0.9797)
    """
    to_first = kd(first, second.detach(), temperature, reduction=reduction)
    return to_first + kd(second, first.detach(), temperature, reduction=reduction)


def mean_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """DDGSD's features: ‖mean_i f(a_i) - mean_i f(b_i)‖², the maximum mean discrepancy of a linear kernel.

    It compares the batch's two mean features, (D,) each, and its size is the squared norm of their difference: public
    code that takes the mean over the features, too, compares two numbers alone. Xu, Liu 2019, AAAI,
    doi:10.1609/aaai.v33i01.33015565. Shapes: both (B, ...), equal. Returns a scalar.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mean_discrepancy
        >>> mean_discrepancy(torch.tensor([[1.0, 3.0], [3.0, 1.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
        tensor(5.)
    """
    return (first.flatten(1).mean(dim=0) - second.flatten(1).mean(dim=0)).square().sum()
