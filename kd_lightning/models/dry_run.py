"""Running a model without leaving a trace on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In eval mode; the mode of every module is afterwards as it was before."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def dry_run(model: nn.Module, example: Tensor) -> Iterator[None]:
    """In eval mode and without gradients; the random state is afterwards as it was before."""
    devices = [example.device] if example.device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices), torch.no_grad():
        yield
