"""Networks that exports have trouble with, as a user's own."""

import torch
from torch import Tensor, nn


class Bessel(nn.Module):
    """Runs an operator that ONNX lacks."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images)


class Branching(nn.Module):
    """Decides by what it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


class Counting(nn.Module):
    """Knows its batch by heart."""

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 64) if len(images) == 2 else images.reshape(len(images), 64)


class Forgetful(nn.Module):
    """Gives something else where it is traced."""

    def forward(self, images: Tensor) -> Tensor:
        return images * (3.0 if torch.compiler.is_compiling() else 1.0)


def odd_network(oddity: str) -> nn.Sequential:
    odd = {"bessel": Bessel, "branching": Branching, "counting": Counting, "forgetful": Forgetful}[oddity]()
    return nn.Sequential(nn.Identity(), nn.Sequential(odd), nn.Flatten(), nn.Linear(64, 10))
