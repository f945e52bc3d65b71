"""What a batch costs the learners, outside of a training's own steps, and what sources do of that before one."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from kd_lightning.batch import as_streams, main_stream, size_of
from kd_lightning.learners.optimizer import rate_of
from kd_lightning.objective import ObjectiveValue
from kd_lightning.sources import Source, Step


def losses_of(trainer: Trainer, module: Any, batch: Any) -> dict[str, ObjectiveValue]:
    """What each learner minimises of a batch that lies on the device; nothing is noted of it, and nothing logged."""
    with trainer.precision_plugin.train_step_context(), torch.enable_grad():
        signals = module._with_training_set(*module._signals.of_streams(as_streams(batch), training=True))
        found: dict[str, ObjectiveValue] = module.losses(signals, module.progress())
    return found


class BeforeSteps(Callback):
    """Has sources do what precedes a step, in front of each; `DistillationModule` brings it for those that do any.

    Where a step accumulates the gradients of several batches, they see the first of these.
    It stands in front of what makes a second pass of a step, so that this one sees the sources as the first one did.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = dict(sources)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        module: Any = pl_module
        streams = as_streams(batch)

        def minimised() -> dict[str, Tensor]:
            return {name: one.total for name, one in losses_of(trainer, module, batch).items()}

        step = Step(
            streams,
            module.sources,
            module.objectives,
            minimised,
            {name: rate_of(name, trainer.optimizers[0]) for name in module.learners},
            module.progress(),
            module.finite.skips,
        )
        for name, source in self.sources.items():
            with trainer.precision_plugin.train_step_context(), torch.enable_grad():
                told = source.before_step(step)
            for title, value in told.items() if module._is_shown() else ():
                module.log(f"train/{name}_{title}", value, batch_size=size_of(streams[main_stream(streams)]))


def preceding(sources: Mapping[str, Source]) -> list[Callback]:
    """What has sources do what precedes a step; nothing where none does."""
    found = {name: one for name, one in sources.items() if type(one).before_step is not Source.before_step}
    return [BeforeSteps(found)] if found else []
