"""Sharpness-aware minimisation: the gradient is that of the worst point nearby."""

import inspect
from collections.abc import Callable, Iterable, Sequence

import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from kd_lightning.errors import UserError
from kd_lightning.optimizers.layer_decay import LayerDecay
from kd_lightning.schedules.length import accumulation

TINY = 1e-12  # a gradient of 0 moves nothing


class SAM:
    """Makes an optimizer that steps by the gradient at w + rho·g/‖g‖, where g is the gradient at w.

    Foret et al. 2021, arXiv:2010.01412. A `DistillationModule` whose optimizer is made so computes its loss twice a
    step, on the same random numbers: at w, which is what is logged and what statistics see, and nearby. The norm is
    over all that is trained, parts of terms too. What learns nothing, as a teacher does, is asked once. The second
    gradient is what is clipped.

    Args:
        make: makes the optimizer of parameters; a `LayerDecay` too.
        rho: how far, above 0, such as 0.05.

    Raises UserError for another rho.

    Examples:
        >>> from functools import partial
        >>> import torch
        >>> from kd_lightning import DistillationModule
        >>> from kd_lightning.optimizers import SAM
        >>> sam = SAM(partial(torch.optim.SGD, lr=0.1, momentum=0.9), rho=0.05)
        >>> module = DistillationModule(student=torch.nn.Linear(16, 3), num_classes=3, optimizer=sam)
    """

    def __init__(self, make: Callable[..., Optimizer], rho: float) -> None:
        if isinstance(rho, bool) or not isinstance(rho, (int, float)) or not 0 < rho < float("inf"):
            raise UserError(f"sam={rho}: must be above 0, such as 0.05; or null")
        self.make = make
        self.rho = rho

    def __call__(self, parameters: Iterable[nn.Parameter], network: nn.Module) -> Optimizer:
        """The optimizer of these parameters. Raises UserError for one that computes the loss anew by itself."""
        make = self.make
        optimizer = make(parameters, network) if isinstance(make, LayerDecay) else make(parameters)
        closure = inspect.signature(type(optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise UserError(
                f"sam={self.rho}: {type(optimizer).__name__} computes the loss several times a step by itself; take "
                "another optimizer, or sam=null"
            )
        return optimizer

    def check(self, trainer: Trainer) -> None:
        """Raise UserError for a trainer whose steps have not one gradient that can be taken twice."""
        place = f"sam={self.rho}"
        if max(accumulation(trainer).values()) > 1:
            raise UserError(
                f"{place}: computes the gradient of one batch twice, and trainer.accumulate_grad_batches="
                f"{trainer.accumulate_grad_batches} makes a step of several; leave it 1, or sam=null"
            )
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise UserError(
                f"{place}: with trainer.precision=16-mixed gradients are scaled; take bf16-mixed or 32-true, or "
                "sam=null"
            )
        if trainer.world_size > 1:
            raise UserError(f"{place}: trains on one device, and there are {trainer.world_size}; use trainer.devices=1")

    @torch.no_grad()
    def climb(self, weights: Sequence[nn.Parameter]) -> list[Tensor]:
        """Move weights by rho·g/‖g‖ of the gradients that they hold, over all of them; returns what they were."""
        before = [weight.detach().clone() for weight in weights]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_add_([*weights], torch._foreach_mul(gradients, self.rho / (norm + TINY)))
        return before
