"""Batch normalisation that can take a batch of one."""

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, but where a channel has a single value, which has no variance, the running statistics serve.

    So the last batch of an epoch may hold one image also where the maps are 1x1; it leaves the statistics as they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)
