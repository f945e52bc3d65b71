"""Errors of a regression's outputs, which are no logits but stand where these do."""

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, mean_per_sample, squared_distance


def mse(outputs: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Mean over batch and outputs of (output - target)², the mean squared error.

    Shapes: outputs (B, K), target (B, K), or (B,) of a single output. Returns a scalar, or (B,) for the reduction
    `none`. ValueError for other shapes, so that nothing is broadcast.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mse
        >>> mse(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]), reduction="none")
        tensor([0., 4.])
    """
    return squared_distance(outputs, as_outputs(outputs, target), reduction)


def mae(outputs: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Mean over batch and outputs of |output - target|, the mean absolute error.

    Shapes: outputs (B, K), target (B, K), or (B,) of a single output. Returns a scalar, or (B,) for the reduction
    `none`. ValueError for other shapes, so that nothing is broadcast.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import mae
        >>> mae(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
        tensor(1.)
    """
    return mean_per_sample(F.l1_loss(outputs, as_outputs(outputs, target), reduction="none"), reduction)


def as_outputs(outputs: Tensor, target: Tensor) -> Tensor:
    """The target in the shape and type of outputs (B, K), from (B, K), or (B,) of a single output.

    ValueError for other shapes.
    """
    if outputs.ndim != 2:
        raise ValueError(f"outputs of shape {tuple(outputs.shape)}: a regression gives (B, K), a row for each sample")
    if target.ndim == 1 and outputs.shape[1] == 1:
        target = target[:, None]
    if target.shape != outputs.shape:
        column = ", or (B,) of one output" if outputs.shape[1] == 1 else ""
        raise ValueError(
            f"target of shape {tuple(target.shape)}: outputs {tuple(outputs.shape)} need a number for each, "
            f"{tuple(outputs.shape)}{column}"
        )
    return target.to(outputs.dtype)
