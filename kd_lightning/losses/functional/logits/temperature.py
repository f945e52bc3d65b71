"""Reversed gradients."""

from typing import Any

import torch
from torch import Tensor


class _ReversedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return ctx.factor.to(gradient.dtype) * gradient, None


def reverse_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """x, whose gradient is multiplied by `factor` on its way back: below 0, a descent on the loss raises it in x.

    Ganin, Lempitsky 2015, arXiv:1409.7495. Shapes: x any; factor (), on the CPU or on x's device. Returns x's values.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import reverse_gradient
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> y = reverse_gradient(x, torch.tensor(-0.5)) * 2
        >>> y.backward()
        >>> x.grad
        tensor(-1.)
    """
    return _ReversedGradient.apply(x, factor)
