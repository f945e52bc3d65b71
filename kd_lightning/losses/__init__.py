"""Losses: small modules that take tensors and return a scalar, each over a pure function in `functional`."""

from kd_lightning.losses import functional
from kd_lightning.losses.features import AttentionTransfer, FitNet
from kd_lightning.losses.logits import CrossEntropy, MeanSquaredLogits, SoftTarget

__all__ = ["AttentionTransfer", "CrossEntropy", "FitNet", "MeanSquaredLogits", "SoftTarget", "functional"]
