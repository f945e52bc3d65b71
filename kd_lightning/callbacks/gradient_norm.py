"""The size of the gradient."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
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
        norm = get_total_norm(gradients) / loss_scale(trainer, optimizer)
        pl_module.log("train/gradient_norm", norm, on_step=True, on_epoch=False)


def loss_scale(trainer: Trainer, optimizer: Optimizer) -> Tensor | float:
    """What the gradients are still multiplied by: in float16, a fused optimizer divides by it itself."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return 1.0
    scale: Tensor = scaler._scale  # get_scale() would ask the device for it
    return scale
