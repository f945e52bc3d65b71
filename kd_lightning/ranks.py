"""What several processes that train together agree on."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.distributed
from torch import Tensor


def on_any_rank(value: Tensor | bool) -> bool:
    """Whether it is true on one of the ranks."""
    if processes() == 1:
        return bool(value)
    device = value.device if isinstance(value, Tensor) else rank_device()
    shared = torch.as_tensor(value, device=device).to(torch.int32)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return bool(shared)


def rank_device() -> torch.device:
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")


def first_of_ranks(found: list[Any]) -> Any:
    """The smallest of what the ranks found."""
    if processes() > 1:
        parts: list[list[Any]] = [[] for _ in range(processes())]
        torch.distributed.all_gather_object(parts, found)
        found = [one for part in parts for one in part]
    return min(found)


def mean_of_ranks(values: Mapping[str, Tensor], names: Sequence[str]) -> Mapping[str, Tensor]:
    """Scalars as the mean over the ranks that have them, in one operation, which a device does by itself.

    `names` are all that any rank may have. With one process the values are returned as they are.
    """
    if processes() == 1 or not values:
        return values
    like = next(iter(values.values()))
    zero, one = like.new_zeros(()), like.new_ones(())
    sums = torch.stack([values[name].to(like) if name in values else zero for name in names])
    counts = torch.stack([one if name in values else zero for name in names])
    torch.distributed.all_reduce(both := torch.stack([sums, counts]))
    means = dict(zip(names, both[0] / both[1], strict=True))
    return {name: means[name] for name in values}


def mean_tensors_of_ranks(values: Sequence[Tensor]) -> list[Tensor]:
    """Tensors as their means over the ranks, which all give them in the same shapes, in one operation."""
    if processes() == 1 or not values:
        return list(values)
    flat = torch.cat([value.flatten() for value in values]) / processes()
    torch.distributed.all_reduce(flat)
    return [part.view_as(value) for part, value in zip(flat.split([v.numel() for v in values]), values, strict=True)]


def gathered(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors (B, …) of all ranks one after another, of which each may have another B; nothing waits for a device.

    All ranks give the same names, and tensors alike but for B. With one process they are returned as they are.
    """
    if processes() == 1 or not values:
        return dict(values)
    mine = torch.tensor([len(value) for value in values.values()])
    sizes = [torch.empty_like(mine) for _ in range(processes())]
    torch.distributed.all_gather(sizes, mine, group=hosts())
    found = {}
    for (name, value), lengths in zip(values.items(), torch.stack(sizes, dim=1).tolist(), strict=True):
        padded = value.new_zeros(max(lengths), *value.shape[1:])
        padded[: len(value)] = value
        parts = [torch.empty_like(padded) for _ in lengths]
        torch.distributed.all_gather(parts, padded)
        found[name] = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
    return found


def all_ranks_agree(found: bool) -> bool:
    """What the first rank found, on all ranks."""
    if processes() == 1:
        return found
    answer = [found]
    torch.distributed.broadcast_object_list(answer, src=0)
    return answer[0]


def processes() -> int:
    """How many processes train together."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def hosts() -> Any:
    """A group of all processes over their hosts, so that nothing waits for a device; made by all of them together."""
    return _hosts(torch.distributed.group.WORLD)


@lru_cache(maxsize=1)
def _hosts(world: object) -> Any:
    return torch.distributed.new_group(backend="gloo")
