"""Losses on feature maps, as modules."""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.losses import functional


class FitNet(nn.Module):
    """FitNets' hint; see `functional.fitnet`. Takes two features of one shape: give its term a projector."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return functional.fitnet(student, teacher)


class AttentionTransfer(nn.Module):
    """Attention transfer; see `functional.attention_transfer`. Takes two lists of maps (B, C, H, W), layer by layer."""

    def __init__(self, p: int = 2) -> None:
        super().__init__()
        self.p = p

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        return functional.attention_transfer(student, teacher, self.p)
