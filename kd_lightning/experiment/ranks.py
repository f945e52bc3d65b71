"""One run in several processes: which of them is the first, and what all follow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import AcquireReturnProxy, FileLock

from kd_lightning.errors import UserError


@contextmanager
def first_rank_holds(lock: Path) -> Iterator[None]:
    """One process at a time among those that train by themselves; the other ranks of a run follow their first."""
    if is_first_rank():
        with acquired(lock):
            yield
    else:
        yield


def acquired(lock: Path) -> AcquireReturnProxy:
    """A lock in the cache, once it is free. Raises UserError where the cache cannot be written."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(lock).acquire()
    except OSError as error:
        raise UserError(
            f"paths.cache_dir={lock.parents[1]}: cannot be written ({error.strerror or error}); choose another folder, "
            "there or in the environment as KD_LIGHTNING_CACHE"
        ) from None


def is_first_rank() -> bool:
    """Whether this process is the first of those that train together, or the only one."""
    return int(os.environ.get("LOCAL_RANK", 0)) == int(os.environ.get("NODE_RANK", 0)) == 0


def all_ranks_agree(found: bool) -> bool:
    """What the first rank found, on all ranks."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return found
    answer = [found]
    torch.distributed.broadcast_object_list(answer, src=0)
    return answer[0]
