"""One run in several processes: which of them is the first, and what all follow."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock

from kd_lightning.ranks import processes
from kd_lightning.system.locks import held as holding
from kd_lightning.terminal import is_first_rank


@contextmanager
def first_rank_holds(lock: Path) -> Iterator[OSError | None]:
    """One process at a time among those that train by themselves; the other ranks of a run follow their first.

    Yields why there is no lock, as in a cache that cannot be written, which needs none to be read; else None.
    """
    with ExitStack() as held:
        refused = None
        if is_first_rank():
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(holding(FileLock(lock), str(lock.with_suffix(""))))
            except OSError as error:
                refused = error
        yield refused


def all_ranks_agree(found: bool) -> bool:
    """What the first rank found, on all ranks."""
    if processes() == 1:
        return found
    answer = [found]
    torch.distributed.broadcast_object_list(answer, src=0)
    return answer[0]
