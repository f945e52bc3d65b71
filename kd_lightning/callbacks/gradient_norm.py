"""The size of the gradient."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from kd_lightning.callbacks.logging_step import is_logged


class GradientNorm(Callback):
    """Logs `train/gradient_norm`: the 2-norm of all gradients together, before they are clipped."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not is_logged(trainer):
            return
        parameters: list[Any] = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in parameters if weight.grad is not None]
        pl_module.log("train/gradient_norm", get_total_norm(gradients), on_step=True, on_epoch=False)
