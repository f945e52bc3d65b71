"""What a batch costs the learners, outside of a training's own steps."""

from typing import Any

import torch
from lightning import Trainer

from kd_lightning.batch import as_streams
from kd_lightning.objective import ObjectiveValue


def losses_of(trainer: Trainer, module: Any, batch: Any) -> dict[str, ObjectiveValue]:
    """What each learner minimises of a batch that lies on the device; nothing is noted of it, and nothing logged."""
    with trainer.precision_plugin.train_step_context(), torch.enable_grad():
        signals = module._with_training_set(*module._signals.of_streams(as_streams(batch), training=True))
        found: dict[str, ObjectiveValue] = module.losses(signals, module.progress())
    return found
