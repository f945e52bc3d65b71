"""Running a model without leaving a trace on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from kd_lightning.batch import Input, first_tensor_of


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In eval mode; the mode of every module is afterwards as it was before.

    Examples:
        >>> import torch
        >>> from kd_lightning.taps import evaluating
        >>> network = torch.nn.Dropout()
        >>> with evaluating(network):
        ...     network.training
        False
        >>> network.training
        True
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def dry_run(model: nn.Module, example: Input) -> Iterator[None]:
    """In eval mode and without gradients; the random state is afterwards as it was before.

    Examples:
        >>> import torch
        >>> from kd_lightning.taps import dry_run
        >>> network, example = torch.nn.Linear(4, 2), torch.rand(1, 4)
        >>> with dry_run(network, example):
        ...     network(example).requires_grad
        False
    """
    device = first_tensor_of(example).device
    devices = [device] if device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices), torch.no_grad():
        yield
