"""What ranks agree on while they train: whether a signal asks of one of them that they end."""

import time

import torch
from torch import distributed

from kd_lightning.ranks import hosts
from kd_lightning.system.interruption import interruption
from kd_lightning.system.peers import peers

PERIOD = 0.5  # seconds between two questions
COMING = 10.0  # seconds until the ranks that agreed on a signal come to a batch after which they can be saved


class AgreedSignal:
    """Asks all ranks about twice a second, after as many batches as they agreed on the last time.

    All of them count the same batches. They ask among the hosts, so that no device is waited for.
    """

    def __init__(self) -> None:
        self.is_signalled = False  # on one of the ranks, and all know of it
        self.begin()

    def begin(self) -> None:
        """Ask after the next batch; nobody knows yet how long one takes."""
        self._interval = self._left = 1
        self._since = time.monotonic()

    def count(self) -> None:
        """Count a batch, and ask if it is time."""
        self._left -= 1
        if self._left <= 0:
            self.ask()

    def ask(self, batches: float = 0) -> int:
        """Ask at once. Returns the smallest of the ranks' numbers of batches."""
        now = time.monotonic()
        each = (now - self._since) / self._interval
        wanted = max(1, min(2 * self._interval, int(PERIOD / max(each, 1e-6))))
        local = torch.tensor([interruption.signal or 0, -wanted, -min(batches, 2**31)], dtype=torch.int64)
        distributed.all_reduce(local, distributed.ReduceOp.MAX, group=hosts())
        number, interval, fewest = local.tolist()
        self._interval = self._left = -interval
        self._since = now
        if number and not self.is_signalled:
            self.is_signalled, interruption.signal = True, number
            peers.allow(COMING)
        return -int(fewest)
