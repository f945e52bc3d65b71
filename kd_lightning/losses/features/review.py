"""Knowledge review, with its fusion of the student's stages."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import check_constant, check_positive
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.models.batch_norm import BatchNorm2d


class ReviewKD(nn.Module):
    """Knowledge review: the student's stages, fused from the deepest upwards, against the teacher's.

    Each fusion is compared with the teacher's feature of its level by `functional.hcl` (Chen, Liu, Zhao, Jia 2021,
    arXiv:2104.09044). Takes two lists from shallow to deep, maps (B, C, H, W) or pooled vectors (B, D), which count as
    1x1 maps; all channels and sizes come from them.

    Args:
        max_width: the fusion has the channels of the student's deepest layer, and no more than this.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import ReviewKD
        >>> student = [torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4), torch.rand(2, 32)]
        >>> teacher = [torch.rand(2, 64, 8, 8), torch.rand(2, 128, 4, 4), torch.rand(2, 128)]
        >>> loss = ReviewKD()
        >>> loss.build(student, teacher)  # makes the fusions, as a `Term` does
        >>> loss(student, teacher).shape
        torch.Size([])
    """

    any_memory_format = True

    def __init__(self, max_width: int = 512) -> None:
        super().__init__()
        check_constant(max_width=max_width)
        check_positive(max_width=max_width)
        self.max_width = max_width

    def build(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        """Build the fusions. Raises UserError for features that are neither maps nor vectors."""
        for feature in (*student, *teacher):
            if feature.ndim not in (2, 4):
                raise UserError(
                    f"signals={tuple(feature.shape[1:])}: knowledge review takes maps (C, H, W) and pooled vectors "
                    "(D,); name layers that give these"
                )
        width = min(self.max_width, student[-1].shape[1])
        pairs = list(zip(student, teacher, strict=True))
        self.fusions = nn.ModuleList(
            Fusion(s.shape[1], width, t.shape[1], has_deeper=level < len(pairs) - 1)
            for level, (s, t) in enumerate(pairs)
        )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, reduction: Reduction = "mean") -> Tensor:
        wanted = [_as_map(t) for t in teacher]
        levels = list(zip(self.fusions, student, wanted, strict=True))
        fused, reviewed = None, []
        for fusion, feature, target in reversed(levels):
            output, fused = fusion(_as_map(feature), fused, target.shape[2:])
            reviewed.append(output)
        return functional.hcl(reviewed[::-1], wanted, reduction=reduction)


class Fusion(nn.Module):
    """Attention-based fusion of one level with the deeper ones: f = a_1·BN(conv 1x1(x)) + a_2·deeper.

    The attentions a_1, a_2 (B, 1, H, W) are a sigmoid of a 1x1 convolution of both; the deepest level has f = BN(conv
    1x1(x)). Takes x (B, C, H, W), the deeper fusion and the teacher's size. Returns the output BN(conv 3x3(f)) and f,
    both at that size; all changes of size take the nearest position.
    """

    def __init__(self, channels: int, width: int, channels_out: int, has_deeper: bool) -> None:
        super().__init__()
        self.reduce = _normalised(channels, width, kernel_size=1)
        self.attend = nn.Sequential(nn.Conv2d(2 * width, 2, kernel_size=1), nn.Sigmoid()) if has_deeper else None
        self.expand = _normalised(width, channels_out, kernel_size=3)

    def forward(self, feature: Tensor, deeper: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        fused = self.reduce(feature)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            first, second = self.attend(torch.cat([fused, deeper], dim=1)).split(1, dim=1)
            fused = first * fused + second * deeper
        fused = F.interpolate(fused, size, mode="nearest")
        return self.expand(fused), fused


def _normalised(channels: int, channels_out: int, kernel_size: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels_out, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    return nn.Sequential(convolution, BatchNorm2d(channels_out))


def _as_map(feature: Tensor) -> Tensor:
    return feature if feature.ndim == 4 else feature[:, :, None, None]
