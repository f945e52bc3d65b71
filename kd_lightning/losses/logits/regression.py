"""Losses of a regression, sample by sample."""

from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_same_classes, naming_shapes
from kd_lightning.losses.functional.samples import Reduction


class MeanSquaredError(nn.Module):
    """Mean squared error; see `functional.mse`. Takes outputs (B, K) and target (B, K), or (B,) of one output.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import MeanSquaredError
        >>> MeanSquaredError()(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
        tensor(2.)
    """

    outputs = "numbers"

    def forward(self, outputs: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        with naming_shapes(target=target):
            return functional.mse(outputs, target, reduction=reduction)


class MeanAbsoluteError(nn.Module):
    """Mean absolute error; see `functional.mae`. Takes outputs (B, K) and target (B, K), or (B,) of one output.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import MeanAbsoluteError
        >>> MeanAbsoluteError()(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
        tensor(1.)
    """

    outputs = "numbers"

    def forward(self, outputs: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        with naming_shapes(target=target):
            return functional.mae(outputs, target, reduction=reduction)


class RegressionKD(nn.Module):
    """The teacher's outputs as targets; see `functional.mean_squared_logits`. Takes both outputs (B, K).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import RegressionKD
        >>> RegressionKD()(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]), reduction="none")
        tensor([0., 4.])
    """

    soft_target = True  # beside it the error with the labels weighs 1 - alpha
    outputs = "numbers"

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        check_same_classes(student, teacher)
        return functional.mean_squared_logits(student, teacher, reduction=reduction)
