"""Factor transfer, with the networks that make its factors."""

from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import functional
from kd_lightning.losses.arguments import as_number, as_whole, check_constant, check_positive, check_whole
from kd_lightning.losses.functional.samples import Reduction
from kd_lightning.losses.layers import check_maps
from kd_lightning.models.batch_norm import BatchNorm2d
from kd_lightning.schedules.progress import Number, Schedule


class Paraphraser(nn.Module):
    """An autoencoder of the teacher's map: three 3x3 convolutions to the factor, three transposed ones back.

    LeakyReLU(0.1) follows each; the factor has `rate` times the channels. Nothing in it depends on the mode, training
    or evaluation. Takes (B, C, H, W), returns the reconstruction; `encode` returns the factor (B, rate·C, H, W).
    """

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__()
        factor = _factor_channels(channels, rate)
        self.encoder = _three(nn.Conv2d, [channels, channels, factor, factor])
        self.decoder = _three(nn.ConvTranspose2d, [factor, factor, channels, channels])

    def encode(self, feature: Tensor) -> Tensor:
        return self.encoder(feature)

    def forward(self, feature: Tensor) -> Tensor:
        return self.decoder(self.encoder(feature))


class Paraphrase(nn.Module):
    """Trains a paraphraser: the mean of (reconstruction - map)². Takes the teacher's map (B, C, H, W).

    The first phase of factor transfer (Kim, Park, Kwak 2018, arXiv:1802.04977): the state of `paraphraser` goes on to
    `FactorTransfer`, which has one of the same shapes.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import Paraphrase
        >>> teacher = torch.rand(2, 64, 4, 4)
        >>> loss = Paraphrase(rate=0.5)
        >>> loss.build(teacher)  # makes the paraphraser, as a `Term` does
        >>> loss(teacher).shape
        torch.Size([])
        >>> loss.paraphraser.encode(teacher).shape
        torch.Size([2, 32, 4, 4])
    """

    any_memory_format = True

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        check_constant(rate=rate)
        check_positive(rate=rate)
        self.rate = rate

    def build(self, teacher: Tensor) -> None:
        check_maps([], [teacher])
        self.paraphraser = Paraphraser(teacher.shape[1], self.rate)

    def forward(self, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        return functional.fitnet(self.paraphraser(teacher), teacher, reduction=reduction)


class FactorTransfer(nn.Module):
    """Factor transfer; see `functional.factor_transfer`. Takes the student's map and the teacher's (B, C, H, W).

    The translator, three 3x3 convolutions with BN and LeakyReLU(0.1), makes the student's factor and is trained; the
    paraphraser makes the teacher's and is frozen. `Paraphrase` trains it beforehand; without that it stays random.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses import FactorTransfer
        >>> student, teacher = torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4)
        >>> loss = FactorTransfer(rate=0.5)
        >>> loss.build(student, teacher)  # makes translator and paraphraser, as a `Term` does
        >>> loss(student, teacher).shape
        torch.Size([])
    """

    any_memory_format = True

    def __init__(self, p1: int | Schedule = 2, p2: Number = 1, rate: float = 0.5) -> None:
        super().__init__()
        check_constant(rate=rate)
        check_positive(p2=p2, rate=rate)
        check_whole(p1=p1)
        self.p1, self.p2, self.rate = as_whole(p1), as_number(p2), rate

    def build(self, student: Tensor, teacher: Tensor) -> None:
        check_maps([student], [teacher])
        channels, factor = student.shape[1], _factor_channels(teacher.shape[1], self.rate)
        self.translator = _three(nn.Conv2d, [channels, channels, factor, factor], normalised=True)
        self.paraphraser = Paraphraser(teacher.shape[1], self.rate).requires_grad_(False)

    def forward(self, student: Tensor, teacher: Tensor, *, reduction: Reduction = "mean") -> Tensor:
        factors = self.translator(student), self.paraphraser.encode(teacher)
        return functional.factor_transfer(*factors, self.p1, self.p2, reduction=reduction)


def _factor_channels(channels: int, rate: float) -> int:
    factor = int(channels * rate)
    if factor < 1:
        raise UserError(f"rate={rate}: leaves no channel of {channels}; raise it")
    return factor


def _three(
    convolution: type[nn.Conv2d] | type[nn.ConvTranspose2d], widths: list[int], normalised: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, channels_out in pairwise(widths):
        layers.append(convolution(channels, channels_out, kernel_size=3, padding=1))
        if normalised:
            layers.append(BatchNorm2d(channels_out))
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)
