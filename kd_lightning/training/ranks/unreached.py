"""Parameters that no term reaches, for whose gradients several ranks would wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from kd_lightning.batch import as_streams
from kd_lightning.learners.objectives import total_of
from kd_lightning.module import DistillationModule


@contextmanager
def without_unreached(module: DistillationModule, example: Any) -> Iterator[None]:
    """Train what the terms reach alone: the other parameters require no gradient within the block.

    `example` is a batch, or one of each stream.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with one_run_in_training(module), torch.enable_grad():
        total = total_of(module.losses(module.example_signals(as_streams(example))))
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    unreached = [parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    for parameter in unreached:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in unreached:
            parameter.requires_grad_(True)


@contextmanager
def one_run_in_training(module: DistillationModule) -> Iterator[None]:
    """In training mode; statistics, memories, modes and the random state are afterwards as they were."""
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.random.fork_rng([]):
            module.train()
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        with torch.no_grad():
            for name, value in module.named_buffers():
                value.copy_(buffers[name])
