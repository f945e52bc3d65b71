"""Weights & Biases."""

from kd_lightning.tracking.wandb.logger import TrainingWandbLogger

__all__ = ["TrainingWandbLogger"]
