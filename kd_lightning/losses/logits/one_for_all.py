"""One-for-all distillation, with its heads."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_labels, check_positive, check_same_classes
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import labelled
from kd_lightning.models.batch_norm import BatchNorm2d
from kd_lightning.schedules.progress import Number


class OFA(nn.Module):
    """`functional.ofa` of the student's logits and of the logits of a head on each stage, summed.

    Hao et al. 2023, arXiv:2310.19444. Heads on maps are the paper's: separable convolutions, each of half the size and
    twice the channels, down to the last stage's size, then average pooling and a linear layer. They are as wide as the
    student's last stage; in the public code, as the wider one of both networks' last stages. Heads on tokens or
    vectors are a linear layer on the mean token, where the public code has transformer blocks.
    Takes the student's logits (B, C), its stages, the teacher's logits (B, C), and target (B,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import OFA
        >>> student, teacher, target = torch.randn(4, 10), torch.randn(4, 10), torch.arange(4)
        >>> stages = [torch.randn(4, 16, 8, 8), torch.randn(4, 32, 4, 4)]
        >>> loss = OFA()
        >>> loss.build(student, stages, teacher, target)  # makes a head for each stage, as a `Term` does
        >>> loss(student, stages, teacher, target).shape
        torch.Size([])
    """

    outputs = "classes"
    any_memory_format = True

    def __init__(self, eps: Number = 1.0, temperature: Number = 1.0) -> None:
        super().__init__()
        check_positive(eps=eps, temperature=temperature)
        self.eps, self.temperature = as_number(eps), as_number(temperature)
        self.heads = nn.ModuleList()

    def build(self, student: Tensor, stages: Sequence[Tensor], teacher: Tensor, target: Tensor) -> None:
        check_same_classes(student, teacher)
        self.heads = nn.ModuleList(_head(stage, stages[-1], student.shape[1]) for stage in stages)

    def forward(
        self,
        student: Tensor,
        stages: Sequence[Tensor],
        teacher: Tensor,
        target: Tensor,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        check_same_classes(student, teacher)
        check_labels(student, target)
        predictions = [head(stage) for head, stage in zip(self.heads, stages, strict=True)]
        values = [
            functional.ofa(z, teacher, target, self.eps, self.temperature, reduction=reduction)
            for z in (student, *predictions)
        ]
        return sum(values[1:], start=values[0])

    def counted(self, student: Tensor, stages: Sequence[Tensor], teacher: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)


def _head(stage: Tensor, last: Tensor, classes: int) -> nn.Module:
    """From a stage to logits, as wide as the last stage where both are maps."""
    if stage.ndim != 4:
        return nn.Sequential(MeanToken(), _initialised(nn.Linear(stage.shape[-1], classes)))
    end = last if last.ndim == 4 else stage
    sizes, widths = [max(stage.shape[2:])], [stage.shape[1]]
    while sizes[-1] > max(end.shape[2:]):
        sizes, widths = [*sizes, (sizes[-1] + 1) // 2], [*widths, 2 * widths[-1]]
    width = end.shape[1]
    halvings = [_halving(c_in, c_out) for c_in, c_out in itertools.pairwise([*widths[:-1], width])]
    reduce = halvings or [_initialised(nn.Conv2d(stage.shape[1], width, kernel_size=1))]
    return nn.Sequential(*reduce, nn.AdaptiveAvgPool2d(1), nn.Flatten(), _initialised(nn.Linear(width, classes)))


def _halving(c_in: int, c_out: int) -> nn.Module:
    """Two separable 3×3 convolutions (each depthwise, then pointwise, then batch normalisation), the first strided."""
    return nn.Sequential(*_separable(c_in, c_in, stride=2), *_separable(c_in, c_out, stride=1))


def _separable(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    return [
        _initialised(nn.Conv2d(c_in, c_in, kernel_size=3, stride=stride, padding=1, groups=c_in, bias=False)),
        _initialised(nn.Conv2d(c_in, c_out, kernel_size=1, bias=False)),
        BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    ]


def _initialised(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """As published: He's normal distribution over the outputs for convolutions, deviation 0.02 for linear layers."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return layer


class MeanToken(nn.Module):
    """(B, N, C) to (B, C), and (B, C) as it is."""

    def forward(self, feature: Tensor) -> Tensor:
        return feature.mean(dim=1) if feature.ndim == 3 else feature
