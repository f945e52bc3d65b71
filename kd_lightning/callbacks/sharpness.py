"""The second pass of a step of sharpness-aware minimisation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from kd_lightning.callbacks.nonfinite import changing_buffers
from kd_lightning.callbacks.passes import losses_of
from kd_lightning.errors import UserError
from kd_lightning.learners.names import of_each
from kd_lightning.learners.objectives import total_of
from kd_lightning.learners.random_state import generators_of
from kd_lightning.optimizers import SAM


class SecondPass(Callback):
    """Puts the gradient nearby in the place of that at the weights, before it is clipped; `SAM` says what it is.

    What a step changes beside the weights, statistics and memories, changes in the first pass alone.
    """

    def __init__(self, sam: SAM) -> None:
        self.sam = sam
        self._batch: Any = None
        self._drawn: list[Tensor] = []  # the state of the random numbers before the first pass

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sam.check(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._batch = batch
        self._drawn = [generator.get_state() for generator in generators_of(pl_module.device)]
        pl_module._signals.answered = {}

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        weights = [weight for group in trainer.optimizers[0].param_groups for weight in group["params"]]
        moved = [weight for weight in weights if weight.grad is not None]
        if not moved:
            return
        before = self.sam.climb(moved)
        for weight in moved:
            weight.grad = None
        buffers = changing_buffers(pl_module, pl_module.learner)
        kept = [buffer.clone() for buffer in buffers]
        self._again(trainer, pl_module).backward()
        with torch.no_grad():
            torch._foreach_copy_(moved, before)
            for buffer, value in zip(changing_buffers(pl_module, pl_module.learner), kept, strict=True):
                buffer.copy_(value)

    def _again(self, trainer: Trainer, module: Any) -> Tensor:
        """The loss of the same batch with the weights as they are now, on the same random numbers."""
        generators = generators_of(module.device)
        after = [generator.get_state() for generator in generators]
        for generator, state in zip(generators, self._drawn, strict=True):
            generator.set_state(state)
        total = total_of(losses_of(trainer, module, self._batch))
        for generator, state in zip(generators, after, strict=True):
            generator.set_state(state)
        return total

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._batch, pl_module._signals.answered = None, None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._batch, pl_module._signals.answered = None, None


def second_passes(optimizer: Any, learners: Sequence[str]) -> list[Callback]:
    """What a module brings for optimizers that need it. Raises UserError for those of several learners."""
    makers: Mapping[str, Any] = of_each("optimizer", optimizer, learners)
    found = [make for make in makers.values() if isinstance(make, SAM)]
    if found and len(learners) > 1:
        raise UserError(
            f"sam={found[0].rho}: computes the loss of one learner twice, and {', '.join(learners)} learn together; "
            "train them one by one, or sam=null"
        )
    return [SecondPass(one) for one in found]
