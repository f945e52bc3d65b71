"""The order in which networks keep their images in memory."""

import torch
from torch import Tensor, nn

from kd_lightning.batch import Input
from kd_lightning.module import DistillationModule
from kd_lightning.sources import Source
from kd_lightning.taps import dry_run


def use_channels_last(module: DistillationModule, example: Input) -> None:
    """Have a module's convolutions work on (B, H, W, C) in memory, for speed; shapes stay (B, C, H, W).

    Each network keeps the usual order where it fails in the other, as code with `view` may.
    """
    if not isinstance(example, Tensor) or example.ndim != 4:  # no images
        return
    module.to(memory_format=torch.channels_last)
    for source in module.sources.values():
        keep_running(source, example)


def keep_running(source: Source, example: Tensor) -> None:
    """Give a source the usual order again unless it runs."""
    first = next(source.parameters(), example)
    try:
        with dry_run(source, example):
            source({"input": example.to(first.device)})
    except RuntimeError:
        source.to(memory_format=torch.contiguous_format)


def use_contiguous(network: nn.Module) -> nn.Module:
    """The network with its convolutions on (B, C, H, W) in memory again, in place."""
    return network.to(memory_format=torch.contiguous_format)
