"""What several processes that train together agree on."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def on_any_rank(value: Tensor | bool) -> bool:
    """Whether it is true on one of the ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return bool(value)
    device = value.device if isinstance(value, Tensor) else rank_device()
    shared = torch.as_tensor(value, device=device).to(torch.int32)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return bool(shared)


def rank_device() -> torch.device:
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")


def first_of_ranks(found: list[Any]) -> Any:
    """The smallest of what the ranks found."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts: list[list[Any]] = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(parts, found)
        found = [one for part in parts for one in part]
    return min(found)
