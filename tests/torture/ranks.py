"""Two ranks of which one gets a signal: both end within 30 s with one line, and go on as they would have."""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.torture.forked import Process, start
from tests.torture.outcome import difference, left_in
from tests.torture.trial import Trial, tried

LIMIT, WITHIN = 300.0, 30.0
RUN = (
    *("trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=30", "trainer.log_every_n_steps=1"),
    *("teacher=none", "callbacks.progress_bar=null", "hydra.run.dir=run"),
)
SHARE = 4  # of so many trials one: each imports four times
SENT: tuple[tuple[str, tuple[int, ...]], ...] = (
    *(("SIGTERM", (0,)), ("SIGTERM", (1,)), ("SIGINT", (0, 1))),
    *(("SIGKILL", (1,)), ("SIGINT", (0,)), ("SIGKILL", (0,))),
)


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """A share of so many runs, each with a signal."""
    whole = run(folder / "whole")
    assert whole.wait(LIMIT) == 0, whole.errors
    left = left_in(folder / "whole/run")
    shutil.rmtree(folder / "whole")
    for number in range(-(-count // SHARE)):
        name, ranks = SENT[number % len(SENT)]
        chance, place = random.Random(f"{seed} {number}"), folder / f"ranks-{number}"
        what = f"{name} to {' and '.join(map(str, ranks))}"
        trial = tried("ranks", what, lambda: signalled(name, ranks, left, chance, place))  # noqa: B023
        if trial.is_as_expected:
            shutil.rmtree(place)
        yield trial


def run(folder: Path) -> Process:
    return start("kd-train", RUN, folder, {"KD_LIGHTNING_CACHE": str(folder / "cache")}, imports=True)


def ranks_of(process: Process) -> list[int]:
    """The processes of the first rank, and of the second one where it is there."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [process.pid, *(int(child) for child in children if b"train_ddp_process" in command_line(child))]


def command_line(pid: str) -> bytes:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes() if path.exists() else b""


def signalled(
    name: str, ranks: tuple[int, ...], whole: dict[str, Any], chance: random.Random, folder: Path
) -> str | None:
    """What is wrong with how the ranks ended, or with what they are once they have gone on."""
    process = run(folder)
    while not (folder / "run/checkpoints/last.ckpt").exists() and not process.has_ended():
        time.sleep(0.01)
    delay = chance.uniform(0, 2)
    time.sleep(delay)
    told = f"{delay:.2f} s after the first epoch"
    if not process.has_ended():
        pids = ranks_of(process)
        for rank in ranks:
            os.kill(pids[rank], signal.Signals[name])
        begin = time.monotonic()
        code = process.wait(WITHIN)
        while is_there(process.pid) and time.monotonic() - begin < WITHIN:
            time.sleep(0.01)
        if is_there(process.pid) or time.monotonic() - begin > WITHIN:
            os.killpg(process.pid, signal.SIGKILL)
            return f"{told}: there after {WITHIN} s"
        said = [
            line
            for line in (process.output + process.errors).splitlines()
            if re.match(r"interrupted|error|(\[rank\d\]: )?Traceback", line)
        ]
        if code != 0 and (len(said) != 1 or not said[0].endswith("goes on")):
            return f"{told}: exit code {code}, {said}"
    process = run(folder)
    if process.wait(LIMIT) != 0:
        return f"{told}: does not go on, {process.errors[-500:]}"
    found = difference(whole, left_in(folder / "run"))
    return found and f"{told}: {found}; all is in {folder}"


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
