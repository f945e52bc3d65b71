"""Signals that ask a command to end: SIGTERM, Ctrl-C, and in a job of SLURM the one of pre-emption."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from kd_lightning.terminal import is_first_rank


class Interrupted(SystemExit):
    """A signal asked the command to end: with exit code 128 + its number, as shells have it, 143 of SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class Interruption:
    """What becomes of the signals of this process.

    They end what runs by `Interrupted`, at once, or where it `waits` once it has come to a good place. A second Ctrl-C
    ends the process as it is, also while a checkpoint is written: the one before is there. Several ranks hear of a
    second signal by `Peers`.
    """

    def __init__(self) -> None:
        self._process = 0
        self._taken: list[signal.Signals] = []
        self._begin()

    def __reduce__(self) -> str:
        return "interruption"  # of whichever process takes over a job

    def _begin(self) -> None:
        self.signal: int | None = None
        self.waits = False
        self.place = ""  # where a training was saved
        self.run: Path | None = None  # the folder of a run that has begun
        self.remedy = ""  # how the command goes on
        self.is_reported = False  # somebody else says how it ended
        self._is_said = False
        self.end_all: Callable[[int], None] | None = None  # of several ranks, where they do not come to a good place

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals, unless they are taken, or ignored as below `nohup`; give them back."""
        if self._process == os.getpid() or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in signals()}
        self._taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
        self._process = os.getpid()
        self._begin()
        self.install()
        try:
            yield
        finally:
            for number in self._taken:
                signal.signal(number, before[number])
            self._process, self._taken = 0, []
            self._begin()

    def install(self) -> None:
        """Take the signals from whoever did so since."""
        if threading.current_thread() is threading.main_thread():
            for number in self._taken:
                signal.signal(number, self)

    def handles(self, number: int) -> bool:
        return signal.getsignal(number) is self

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked: its process is told, and ends it
            return
        again, self.signal = self.signal is not None, number
        if self.end_all is not None:
            if not (again or self.waits):
                self.end_all(number)
        elif again and number == signal.SIGINT:
            self._say_at_once(number)
            leave(128 + number)
        elif not self.waits:
            raise Interrupted(number)

    def end_if_signalled(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.signal is not None:
            raise Interrupted(self.signal)

    def report(self, number: int) -> None:
        """One line: what ended the command, and how it goes on."""
        self.is_reported = self._is_said = True
        if is_first_rank():
            print(self.line(number), file=sys.stderr)

    def _say_at_once(self, number: int) -> None:
        """The same, whatever is being printed at the moment that the signal came."""
        if is_first_rank() and not self._is_said:
            with suppress(OSError):
                os.write(2, f"{self.line(number)}\n".encode())

    def line(self, number: int) -> str:
        line = f"interrupted by {signal.Signals(number).name}"
        line += f", {self.place}" if self.place else ""
        return f"{line}; {self.remedy}" if self.remedy else line


def signals() -> list[signal.Signals]:
    """SIGTERM, Ctrl-C, and SLURM's signal of pre-emption as `--signal=USR1@60` chooses it."""
    of_slurm = [signal.SIGUSR1] if "SLURM_JOB_ID" in os.environ else []
    return [signal.SIGTERM, signal.SIGINT, *of_slurm]


def leave(code: int) -> NoReturn:
    """End the process as it is, whatever it is about to do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


interruption = Interruption()
