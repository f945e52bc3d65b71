"""The one line that tells how far a sweep is, from the status files: its jobs may run in other processes."""

import threading
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kd_lightning.runs.status import FAILED, FINISHED, RUNNING, Status, read_statuses, text
from kd_lightning.sweeps.plan import Plan
from kd_lightning.sweeps.selection import Configuration, by_configuration

INTERVAL_S = 1.0


class Progress:
    """The line of a running sweep: live on a terminal, else printed for each job that ends."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan, self.console = plan, console
        self.started = time.monotonic()
        self.found = read_statuses(plan.folder)
        self.before = set(self.jobs())
        self.reported = set(self.before)
        self.announced = False
        self.live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Show how it ended; a second call does nothing."""
        self.over.set()
        self.thread.join()

    def jobs(self) -> dict[str, Status]:
        """The jobs that this sweep has begun, and those that had ended before."""
        found = read_statuses(self.plan.folder).items()
        return {name: s for name, s in found if s.has_ended(self.plan.searches) or s != self.found.get(name)}

    def watch(self) -> None:
        over = False
        while not over:
            over = self.over.wait(INTERVAL_S)
            self.show(self.jobs())
        self.live.stop()

    def show(self, jobs: Mapping[str, Status]) -> None:
        """Tell what is new; nothing before the first job."""
        if not jobs:
            return
        if not self.announced:
            self.print(f"sweep  {self.plan.jobs} jobs in {self.plan.folder}")
            self.announced = True
        new = [name for name, job in jobs.items() if job.status != RUNNING and name not in self.reported]
        self.reported.update(new)
        line = progress_line(jobs, self.plan, time.monotonic() - self.started, len(self.reported - self.before))
        for name in new:
            if jobs[name].status == FAILED:
                self.print(failure(name, jobs[name], self.plan))
        if self.console.is_terminal:
            self.live.start()
            self.live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif new:
            self.print(line)

    def report_stopped(self) -> None:
        """Of a sweep that ends before its last job: how far it came, and how it goes on."""
        finished = sum(job.status == FINISHED for job in self.jobs().values())
        if self.announced:
            self.print(
                f"sweep stopped: {finished} of {self.plan.jobs} jobs have finished; the same command with "
                f"hydra.sweep.dir={self.plan.folder} goes on"
            )

    def print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)


def failure(name: str, job: Status, plan: Plan) -> str:
    """What is told of a failed job."""
    worst = "it for the worst" if job.column is None else f"its {job.column.label} for {job.column.worst:g}"
    consequence = f"; the search takes {worst}" if plan.searches else ""
    return f"job {name} ({text(job.choices(plan.swept))}) failed: {job.error}{consequence}"


def progress_line(jobs: Mapping[str, Status], plan: Plan, elapsed_s: float, ended_since: int) -> str:
    """How far a sweep is, the best configuration so far, and an estimate of the time left."""
    states = [job.status for job in jobs.values()]
    ended = len(states) - states.count(RUNNING)
    parts = [f"{states.count(FINISHED)}/{plan.jobs} done", f"{states.count(RUNNING)} running"]
    if FAILED in states:
        parts.append(f"{states.count(FAILED)} failed")
    best = next(iter(by_configuration(jobs, plan)), None)
    if best is not None and best.reached is not None:
        parts.append(f"best {result(best)}" + (f" ({best})" if best.choices else ""))
    if ended_since and ended < plan.jobs:
        parts.append(f"{duration(elapsed_s / ended_since * (plan.jobs - ended))} left")
    return "sweep  " + ", ".join(parts)


def result(best: Configuration) -> str:
    """The mean of a configuration, as its column is written."""
    assert best.reached is not None
    return f"{best.reached:.4g}" if best.column is None else best.column.with_unit(best.reached)


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 120:
        return f"{round(minutes / 60)} h"
    return f"{minutes} min" if minutes else "under 1 min"
