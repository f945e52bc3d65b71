"""Be your own teacher, with its early heads."""

from collections.abc import Sequence

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, check_labels, check_not_negative, check_positive, check_share
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.per_sample import labelled
from kd_lightning.models.batch_norm import BatchNorm2d
from kd_lightning.schedules.progress import Number


class BYOT(nn.Module):
    """A network's deepest classifier teaches heads on its earlier stages; see `functional.byot`.

    Zhang et al. 2019, arXiv:1905.08094. A head stands on each stage but the last: on maps the public code's bottleneck,
    convolutions 1x1, kxk with stride k, 1x1 with a quarter of the channels inside, where k is how many times as large
    as the last stage its stage is; then average pooling and a linear layer. On tokens or vectors a linear layer is the
    bottleneck. The heads are part of the term, not of the network, which is kept without them.
    Takes the stages, the feature that enters the classifier (B, D), the logits (B, C), and target (B,).

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import BYOT
        >>> stages = [torch.randn(4, 16, 8, 8), torch.randn(4, 32, 4, 4), torch.randn(4, 64, 2, 2)]
        >>> feature, logits, target = torch.randn(4, 64), torch.randn(4, 10), torch.arange(4)
        >>> loss = BYOT()
        >>> loss.build(stages, feature, logits, target)  # makes a head for each stage but the last, as a `Term` does
        >>> len(loss.heads), loss(stages, feature, logits, target).shape
        (2, torch.Size([]))
    """

    outputs = "classes"
    any_memory_format = True

    def __init__(self, alpha: Number = 0.1, temperature: Number = 3.0, beta: Number = 1.28e-4) -> None:
        super().__init__()
        check_share(alpha=alpha)
        check_positive(temperature=temperature)
        check_not_negative(beta=beta)
        self.alpha, self.temperature, self.beta = as_number(alpha), as_number(temperature), as_number(beta)
        self.heads = nn.ModuleList()

    def build(self, stages: Sequence[Tensor], feature: Tensor, logits: Tensor, target: Tensor) -> None:
        """Make the heads. Raises UserError for fewer than two stages, and for a feature that is no vector."""
        check_labels(logits, target)
        if len(stages) < 2:
            raise UserError(
                f"signals={len(stages)} stage: the deepest stage teaches heads on earlier ones; name two or more"
            )
        if feature.ndim != 2:
            raise UserError(f"signals={tuple(feature.shape[1:])}: the deepest feature must be a vector, such as pooled")
        width, classes = feature.shape[1], logits.shape[1]
        self.heads = nn.ModuleList(EarlyHead(stage, stages[-1], width, classes) for stage in stages[:-1])

    def forward(
        self,
        stages: Sequence[Tensor],
        feature: Tensor,
        logits: Tensor,
        target: Tensor,
        *,
        reduction: Reduction = "mean",
    ) -> Tensor:
        check_labels(logits, target)
        found = [head(stage) for head, stage in zip(self.heads, stages[:-1], strict=True)]
        features, predictions = [one for one, _ in found], [one for _, one in found]
        numbers = self.alpha, self.temperature, self.beta
        return functional.byot(predictions, features, logits, feature, target, *numbers, reduction=reduction)

    def counted(self, stages: Sequence[Tensor], feature: Tensor, logits: Tensor, target: Tensor) -> Tensor | None:
        return labelled(target)


class EarlyHead(nn.Module):
    """From a stage to a feature as wide as the deepest one, (B, D), and to logits, (B, C)."""

    def __init__(self, stage: Tensor, last: Tensor, width: int, classes: int) -> None:
        super().__init__()
        self.bottleneck = _bottleneck(stage, last, width) if stage.ndim == 4 else nn.Linear(stage.shape[-1], width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, stage: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.bottleneck(stage.mean(dim=1) if stage.ndim == 3 else stage)
        return feature, self.classifier(feature)


def _bottleneck(stage: Tensor, last: Tensor, width: int) -> nn.Module:
    """From a map (B, C, H, W) to (B, D)."""
    middle = max(1, width // 4)
    size = stage.shape[2:]
    end = last.shape[2:] if last.ndim == 4 else size
    steps = [max(1, side // least) for side, least in zip(size, end, strict=True)]
    layers = [
        *_convolved(stage.shape[1], middle, (1, 1)),
        *_convolved(middle, middle, (steps[0], steps[1])),
        *_convolved(middle, width, (1, 1)),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _convolved(c_in: int, c_out: int, size: tuple[int, int]) -> list[nn.Module]:
    """A convolution whose stride is its size, batch normalisation, ReLU."""
    convolution = nn.Conv2d(c_in, c_out, kernel_size=size, stride=size, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, BatchNorm2d(c_out), nn.ReLU(inplace=True)]
