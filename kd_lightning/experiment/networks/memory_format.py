"""The order in which networks keep their images in memory."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kd_lightning.batch import Input
from kd_lightning.module import DistillationModule
from kd_lightning.taps import dry_run


def use_channels_last(module: DistillationModule, example: Input) -> None:
    """Have a module's convolutions work on (B, H, W, C) in memory, for speed; shapes stay (B, C, H, W).

    Student and teacher each keep the usual order where they fail in the other, as code with `view` may.
    """
    if not isinstance(example, Tensor) or example.ndim != 4:  # no images
        return
    module.to(memory_format=torch.channels_last)
    teacher = module.teacher
    keep_running(module.student, module.student, example)
    if teacher is not None:
        keep_running(teacher, lambda images: teacher({"input": images}), example)


def keep_running(network: nn.Module, run: Callable[[Tensor], object], example: Tensor) -> None:
    """Give a network the usual order again unless it runs."""
    first = next(network.parameters(), example)
    try:
        with dry_run(network, example):
            run(example.to(first.device))
    except RuntimeError:
        network.to(memory_format=torch.contiguous_format)


def use_contiguous(network: nn.Module) -> nn.Module:
    """The network with its convolutions on (B, C, H, W) in memory again, in place."""
    return network.to(memory_format=torch.contiguous_format)
