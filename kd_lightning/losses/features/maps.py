"""Losses on feature maps without trainable parts, as modules."""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_positive
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.layers import check_equal_channels, check_maps
from kd_lightning.schedules.progress import Number


class FitNet(nn.Module):
    """FitNets' hint; see `functional.fitnet`. Takes two features of one shape: give its term a projector.

    Examples:
        >>> import torch
        >>> from kd_lightning import projectors
        >>> from kd_lightning.losses import FitNet
        >>> student, teacher = torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4)
        >>> FitNet()(projectors.Regressor((16, 8, 8), (64, 4, 4))(student), teacher).shape
        torch.Size([])
    """

    any_memory_format = True

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        return functional.fitnet(student, teacher, reduction=reduction)


class AttentionTransfer(nn.Module):
    """Attention transfer; see `functional.attention_transfer`. Takes two lists of maps (B, C, H, W), layer by layer.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import AttentionTransfer
        >>> student = [torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]
        >>> teacher = [torch.rand(2, 64, 8, 8), torch.rand(2, 128, 4, 4)]
        >>> AttentionTransfer()(student, teacher, reduction="none").shape
        torch.Size([2])
    """

    any_memory_format = True

    def __init__(self, p: Number = 2) -> None:
        super().__init__()
        check_positive(p=p)
        self.p = as_number(p)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
        check_maps(student, teacher)
        return functional.attention_transfer(student, teacher, self.p, reduction=reduction)


class NST(nn.Module):
    """Neuron selectivity transfer; see `functional.nst`. Takes two lists of maps (B, C, H, W), layer by layer.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import NST
        >>> NST()([torch.rand(2, 16, 8, 8)], [torch.rand(2, 64, 4, 4)]).shape
        torch.Size([])
    """

    any_memory_format = True

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
        check_maps(student, teacher)
        return functional.nst(student, teacher, reduction=reduction)


class FSP(nn.Module):
    """Flow of the solution procedure; see `functional.fsp`. Takes two lists of maps (B, C, H, W), layer by layer.

    Both networks need the same channels in each layer, and two layers at least.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import FSP
        >>> layers = [torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]
        >>> FSP()(layers, layers)
        tensor(0.)
    """

    any_memory_format = True

    def build(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        """Pair the layers. Raises UserError for less than two."""
        check_maps(student, teacher)
        check_equal_channels(student, teacher)
        if len(student) < 2:
            raise UserError(f"signals={len(student)} layer: a flow runs from one layer to the next; name two or more")

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
        return functional.fsp(student, teacher, reduction=reduction)
