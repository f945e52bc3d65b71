"""Blocks whose error counts relative to how much the teacher's map varies, so that no stage outweighs another."""

import torch
from torch import Tensor, nn


class RelativeError(nn.Module):
    """mean((s - t)²) / var(t), over batch, channels and positions; takes two features of one shape (B, ...)."""

    def __init__(self, least: float = 1e-6) -> None:
        super().__init__()
        self.least = least  # of the variance

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean() / torch.clamp(teacher.var(correction=0), min=self.least)
