"""A memory of embeddings, one for each training image, alike on all processes."""

import math

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses.tables import write_rows
from kd_lightning.losses.whole_batch import processes


class MemoryBank(nn.Module):
    """One embedding (width,) for each of `size` images, a moving average, as buffers: they move, save and load.

    Under an initialised process group all processes must call the methods together, with batches of equal size.
    """

    embeddings: Tensor  # (M, width)
    normalizer: Tensor  # 0-d: Z, below 0 until it is known

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width / 3)  # a row's expected squared norm is 1
        self.register_buffer("embeddings", torch.empty(size, width).uniform_(-bound, bound))
        self.register_buffer("normalizer", torch.tensor(-1.0))

    def scores(self, queries: Tensor, rows: Tensor, temperature: float) -> Tensor:
        """exp(query·row / τ) / Z of queries (B, width) with their rows (B, R); Z from the first batch.

        Z is the mean over the batch of all processes times the number of images.
        """
        # A copy: the rows may change before backward.
        similarity = (queries @ self.embeddings.clone().T).gather(1, rows)
        exponential = (similarity / temperature).exp()
        estimate = _mean_of_processes(exponential.detach().mean()) * len(self.embeddings)
        normalizer = torch.where(self.normalizer > 0, self.normalizer, estimate)
        if self.training and torch.is_grad_enabled():
            self.normalizer.copy_(normalizer)
        return exponential / normalizer

    @torch.no_grad()
    def update(self, rows: Tensor, queries: Tensor, momentum: float) -> None:
        """Move the rows (B,) towards their queries (B, width), to unit norm; -1 is no row.

        Of an image that comes twice in the batch of all processes, the last one counts.
        """
        rows, queries = _joined(rows), _joined(queries)
        places = rows.clamp(min=0)
        moved = F.normalize(momentum * self.embeddings[places] + (1 - momentum) * queries, dim=1)
        write_rows(self.embeddings, rows, moved)


def _joined(values: Tensor) -> Tensor:
    """The batches of all processes, one after the other."""
    if processes() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(processes())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def _mean_of_processes(value: Tensor) -> Tensor:
    if processes() == 1:
        return value
    value = value.clone()
    torch.distributed.all_reduce(value)
    return value / processes()
