"""Batch normalisation that can take a batch of one, and one that takes a batch for what it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, but where a channel has a single value, which has no variance, the running statistics serve.

    So the last batch of an epoch may hold one image also where the maps are 1x1; it leaves the statistics as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Batch normalisations take the batch's own mean and variance; their running ones are neither read nor changed."""
    layers = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    try:
        for layer in layers:  # each step does this, and nn.Module's own way to set an attribute is slow
            vars(layer).update(training=True, track_running_stats=False)
        yield
    finally:
        for layer, (training, tracks) in zip(layers, before, strict=True):
            vars(layer).update(training=training, track_running_stats=tracks)
