"""Ranks that end together: whichever ends, and however, ends all within seconds, and one of them says why."""

import math
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, wait
from subprocess import Popen, TimeoutExpired
from typing import Any

from kd_lightning.system.interruption import interruption, leave, signals

LAUNCHED = "hydra.job.name=train_ddp_process_"  # what Lightning gives the ranks that it starts
NAMES = {number.value: number.name for number in signal.Signals}
LOCAL = ("127.0.0.1", "localhost")
POLL = 0.5  # seconds
SAME = 1.0  # seconds within which a signal that comes twice, from a terminal and from a launcher, is one
GRACE = 5.0  # seconds in which a rank may come to the same end by itself
BROKEN = 8.0  # seconds after which it is known whether an operation failed because another rank has ended
AGREEMENT = 15.0  # seconds in which ranks agree on a signal, where none of them hangs
EXIT = 10.0  # seconds that a process may take to end after it said why


@dataclass(frozen=True)
class End:
    """How a process ends: with a code, and with a line where nobody said anything yet."""

    code: int
    line: str | None = None


class Peers:
    """What a rank of several knows of the others; nothing where there is one process.

    The first rank has a connection to each of them, and sees the processes that it launched; the others have one to the
    first, and see whether the process is there that launched them. A connection that is closed without a word means
    that its process was killed. A thread looks at them, and at signals, which a process does not hear of where it waits
    for other ranks.
    """

    def __init__(self) -> None:
        self._rank = 0
        self._children: Sequence[Popen[Any]] = ()
        self._parent: int | None = None
        self._links: dict[int, Connection] = {}
        self._well: set[int] = set()  # ranks of which it is known how they end
        self._lock = threading.RLock()
        self._found = threading.Event()
        self._end, self._due = End(0), math.inf
        self._is_over = False
        self._woken, self._wake = socket.socketpair()
        self._signal: tuple[int, float] | None = None  # and when it came
        self._signal_due = math.inf
        self._is_connected = False
        self._is_agreed = False  # on a signal
        self._thread: threading.Thread | None = None

    def __reduce__(self) -> str:
        return "peers"  # of whichever process takes over a job

    def follow_parent(self) -> None:
        """Where Lightning launched this process, end it when the one that did so is gone."""
        if any(argument.startswith(LAUNCHED) for argument in sys.argv):
            self._rank, self._parent = int(os.environ.get("LOCAL_RANK", 1)), os.getppid()
            self._begin()

    def launched(self, processes: Sequence[Popen[Any]]) -> None:
        """End all when one of the processes ends that this one launched."""
        self._children = processes
        self._begin()

    def connect(self, group: Any) -> None:
        """Connect all ranks, which call it together, once; `group` is one of their hosts."""
        if self._is_connected:
            return
        self._is_connected = True
        from torch import distributed

        self._rank, size = distributed.get_rank(), distributed.get_world_size()
        host, key = os.environ.get("MASTER_ADDR", LOCAL[0]), secrets.token_bytes(32)
        told: list[Any] = [None]
        if self._rank == 0:
            listener = Listener((host if host in LOCAL else "", 0), backlog=size, authkey=key)
            told = [(listener.address[1], key)]
            threading.Thread(target=self._accept, args=(listener, size - 1), daemon=True).start()
        distributed.broadcast_object_list(told, src=0, group=group)
        if self._rank:
            port, key = told[0]
            link = Client((host, port), authkey=key)
            link.send_bytes(str(self._rank).encode())
            self._links = {0: link}
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=self._forget)
        self._begin()

    def _accept(self, listener: Listener, count: int) -> None:
        while count:
            try:
                link = listener.accept()
                self._links[int(link.recv_bytes())] = link
                count -= 1
            except (OSError, EOFError, ValueError, AuthenticationError):
                continue  # of somebody else
        listener.close()

    def _forget(self) -> None:
        """A data loader's worker holds no connection open, and reports no signal."""
        signal.set_wakeup_fd(-1)
        for link in self._links.values():
            link.close()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while not self._is_over:
            self._look()
            if time.monotonic() >= self._due:
                self.end_now(self._end)
            if self._signal is not None and time.monotonic() >= self._signal_due:
                self.end_by_signal(self._signal[0])

    def _look(self) -> None:
        """At what comes within a moment."""
        links = {link: rank for rank, link in [*self._links.items()]}
        try:
            ready = wait([*links, self._woken], POLL)
        except OSError:
            return
        for one in ready:
            if one is self._woken:
                self._signalled(self._woken.recv(64))
            else:
                assert isinstance(one, Connection)
                self._hear(one, links[one])
        for number, child in enumerate(self._children, start=1):
            if child.poll() is not None and child.returncode != 0:
                self._gone(self._rank + number, child.returncode)
        if self._parent is not None and os.getppid() != self._parent:
            self._gone(0)

    def _hear(self, link: Connection, rank: int) -> None:
        try:
            word, _, number = link.recv_bytes().decode().partition(" ")
        except (OSError, EOFError):
            self._links.pop(rank, None)
            self._gone(rank, self._code_of(rank))
            return
        self._well.add(rank)
        if word == "told":
            self._expect(End(int(number)))
        elif word == "signal":
            self.end_by_signal(int(number))

    def _code_of(self, rank: int) -> int | None:
        """What a rank that has just ended left with, where this process launched it."""
        try:
            return self._children[rank - 1].wait(GRACE) if 0 < rank <= len(self._children) else None
        except TimeoutExpired:
            return None

    def _gone(self, rank: int, code: int | None = None) -> None:
        """A rank has ended; one that ends with an error says so itself, and one that is killed does not."""
        if rank in self._well:
            return
        self._well.add(rank)
        if code is not None and code > 0:
            by_signal = code - 128 in signals() and self._rank == 0
            self._expect(End(code, interruption.line(code - 128) if by_signal else None))
            return
        how = f" by {NAMES.get(-code, -code)}" if code else ""
        remedy = f"; {interruption.remedy}" if interruption.remedy else ""
        speaks = self._rank == (1 if rank == 0 else 0)
        self._expect(End(1, f"error: rank {rank} was ended{how}, and so are all{remedy}" if speaks else None))

    def _expect(self, end: End) -> None:
        if not self._found.is_set():
            self._end, self._due = end, time.monotonic() + GRACE
            self._found.set()

    def _signalled(self, numbers: bytes) -> None:
        now = time.monotonic()
        for number in numbers:
            if not interruption.handles(number):
                continue
            if self._signal is None:
                self._signal = (number, now)
                self._signal_due = now + (AGREEMENT if interruption.waits else GRACE)
            elif now - self._signal[1] > SAME:
                self.end_by_signal(number)

    def allow(self, seconds: float) -> None:
        """Give the ranks so long for the next part of what a signal asks of them, which they have agreed on."""
        self._is_agreed = True
        if self._signal is None and interruption.signal is not None:
            self._signal = (interruption.signal, time.monotonic())
        self._signal_due = time.monotonic() + seconds

    def end_by_signal(self, number: int) -> None:
        """End all ranks at once, of which a signal asks."""
        if self._rank == 0:
            self.end_now(End(128 + number, interruption.line(number)))
        elif 0 in self._links:
            self._send(f"signal {number}")
        elif self._parent is not None:
            os.kill(self._parent, number)
        leave(128 + number)

    def end_now(self, end: End) -> None:
        """End this process and those that it launched, and have the others end."""
        with self._lock:
            if end.line is not None and not self._is_over:
                print(end.line, file=sys.stderr)
            self._is_over = True
            self._send(f"told {end.code}")
            self._kill()
            leave(end.code)

    def because_of_others(self) -> None:
        """End with the others if an operation failed because one of them has ended."""
        if self._thread is not None and self._found.wait(BROKEN):
            self.end_now(self._end)

    def reports(self, code: int) -> bool:
        """Whether this process, which ends with an error, is the one that says so; all then end with it.

        What goes wrong on all ranks the first one says.
        """
        if self._rank and self._thread is not None and self._found.wait(GRACE) and self._end.line is None:
            return False
        with self._lock:
            self._send(f"told {code}")
            self._end, self._due = End(code), time.monotonic() + EXIT
            self._found.set()
            self._signal_due = math.inf
            if not self._links:
                self._kill()
        return True

    def interrupted(self, number: int) -> None:
        """A signal ends this process; and the others, where all have not agreed on it."""
        if self._links and not self._is_agreed:
            self.end_by_signal(number)
        self.close()
        due = time.monotonic() + EXIT
        for child in self._children:  # one that hangs would stay
            try:
                child.wait(max(0.0, due - time.monotonic()))
            except TimeoutExpired:
                child.kill()

    def close(self) -> None:
        """This process ends as all do."""
        with self._lock:
            self._is_over = True
            self._send("well")
            if not self._links:
                self._kill()

    def _send(self, word: str) -> None:
        for link in [*self._links.values()]:
            try:
                link.send_bytes(word.encode())
            except OSError:
                continue

    def _kill(self) -> None:
        for child in self._children:
            child.kill()


peers = Peers()
