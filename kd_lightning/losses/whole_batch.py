"""The batches of all processes as one, for losses on the relations between its examples."""

from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.ranks import hosts, processes


class BatchRelations(nn.Module):
    """A loss on the relations between the examples of a batch, which has no value of one example.

    Under several processes a batch is each process's own; with `gather` it is those of all processes together, as one
    process would have it, see `whole_batch`.
    """

    any_memory_format = True

    per_sample = False

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    def batch(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The values (B, ...) over the batch that counts."""
        return whole_batch(*values) if self.gather else values


def whole_batch(*values: Tensor) -> tuple[Tensor, ...]:
    """The batches of all processes, in the order in which one process would have them; each (B, ...) to (N, ...).

    Example i of the whole batch is process i mod W's, as the sampler deals them; batches may differ in size. Gradients
    come back summed over the processes, each of which has the whole loss: their mean, as DistributedDataParallel takes
    it, is the gradient of one process. All processes must call it together. Without a process group the values are
    returned as they are.
    """
    if processes() == 1:
        return values
    sizes = _sizes(len(values[0]))
    return tuple(_interleaved(value, sizes) for value in values)


def _interleaved(values: Tensor, sizes: list[int]) -> Tensor:
    padding = max(sizes) - len(values)
    padded = F.pad(values, (*(0, 0) * (values.ndim - 1), 0, padding)) if padding else values
    parts: Tensor = _AllGather.apply(padded)
    least = min(sizes)
    dealt = parts[:, :least].transpose(0, 1).flatten(0, 1)
    return torch.cat([dealt, *(part[least:size] for part, size in zip(parts, sizes, strict=True))])


class _AllGather(torch.autograd.Function):
    """(B, ...) of each process to (W, B, ...); the gradient of a process's own part is summed over all processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(processes())]
        torch.distributed.all_gather(parts, values.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(gradient)
        return gradient[torch.distributed.get_rank()]


def _sizes(own: int) -> list[int]:
    """How many examples each process has; told among the hosts, so that no device is waited for."""
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(processes())]
    torch.distributed.all_gather(sizes, torch.tensor([own]), group=hosts())
    return [int(size) for size in sizes]
