"""Commands that are killed at any moment, again and again, and taken up again: they leave what they would have left."""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.forked import Process, start
from tests.torture.outcome import difference, left_in
from tests.torture.trial import Trial, tried
from tests.torture.watching import Watch

LIMIT = 300.0  # seconds that a command may take
MOST_KILLS = 4
QUICK = (
    *("callbacks.progress_bar=null", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1"),
    *("teacher.model=digits_cnn_8", "trainer.max_epochs=3"),
)
STUDENT = (*QUICK, "scratch=false")
ALONE = (*QUICK, "teacher=none")
DROPOUT = "student.model={_target_: tests.runs.test_resume.Forgetful}"
BY_STEPS = ("+callbacks.checkpoint_last.every_n_train_steps=2",)
BY_TIME = ("callbacks.checkpoint_timed.every_minutes=1e-6",)  # after every step
ACCUMULATED = ("trainer.accumulate_grad_batches=2", "+trainer.val_check_interval=3")  # within epochs
WRITTEN_LAST = ("student.safetensors", "evaluation.npz", "environment.json", "summary.json", "report.html")


@dataclass(frozen=True)
class Scenario:
    """A command, and what ends it: `kills` of all of its processes, or of the first alone."""

    what: str
    arguments: tuple[str, ...]
    command: str = "kd-train"
    place: str = "hydra.run.dir=run"
    kills_all: bool = True
    imports: bool = False  # in a fresh interpreter, killed within its imports, too

    def start(self, folder: Path, arguments: tuple[str, ...] = ()) -> Process:
        environment = {"KD_LIGHTNING_CACHE": str(folder / "cache")}
        return start(
            self.command, arguments or (*self.arguments, self.place), folder, environment, imports=self.imports
        )


CRD = ("method=crd", "loss.crd.loss.negatives=16")
FIRST = ("initialization.epochs=2",)
SCENARIOS = (
    Scenario("teacher, student alone, student", QUICK),
    Scenario("saved by time", (*QUICK, *BY_TIME, DROPOUT)),
    Scenario("saved by time, gradients accumulated", (*ALONE, *BY_TIME, *ACCUMULATED)),
    Scenario("saved by steps", (*ALONE, *BY_STEPS, DROPOUT)),
    Scenario("saved by steps, gradients accumulated", (*ALONE, *BY_STEPS, *ACCUMULATED)),
    Scenario("answers kept", (*STUDENT, *BY_TIME, "teacher.cache=logits")),
    Scenario("answers kept beforehand", (*STUDENT, "teacher.cache=prefill")),
    Scenario("a memory bank: crd", (*STUDENT, *BY_TIME, *CRD)),
    Scenario("a first stage: ft", (*STUDENT, "method=ft", *FIRST)),
    Scenario("a first stage: ab", (*STUDENT, *BY_TIME, "method=ab", *FIRST)),
    Scenario("a moving average", (*ALONE, *BY_TIME, "callbacks=ema", DROPOUT)),
    Scenario("two passes, at a rate that was found", (*ALONE, *BY_TIME, "callbacks=lr_finder", "optimizer.sam=0.05")),
    Scenario("data workers outlive it", (*ALONE, "data.num_workers=1"), kills_all=False),
    Scenario("a sweep of 2 x 2", ("-m", *STUDENT, "temperature=1,4", "seed=0,1"), place="hydra.sweep.dir=run"),
    Scenario("from the first import on", ALONE, imports=True),
)


@dataclass(frozen=True)
class Whole:
    """A command that nobody ended: what it left, how long it took, and what it did to files, in order."""

    left: dict[str, Any]
    seconds: float
    events: list[str]


def all_left(folder: Path) -> dict[str, Any]:
    """What is in the run's folder and, but for notes of where runs began, in the cache."""
    run = {f"run/{name}": value for name, value in left_in(folder / "run").items()}
    kept = {f"cache/{name}": value for name, value in left_in(folder / "cache").items() if name[:5] != "runs/"}
    return run | kept


def undisturbed(scenario: Scenario, folder: Path) -> Whole:
    begin, events = time.monotonic(), []
    folder.mkdir(parents=True)
    watch = Watch(folder)
    process = scenario.start(folder)
    while not process.has_ended():
        events += watch.next(0.01)
    seconds = time.monotonic() - begin
    watch.close()
    assert process.code == 0, process.errors[-3000:]
    return Whole(all_left(folder), seconds, [event for event in events if "/" in event])


class Moment:
    """When to kill: after some time, or once something happens to a file for the n-th time."""

    def __init__(self, chance: random.Random, whole: Whole) -> None:
        self.seconds = chance.uniform(0, whole.seconds)
        self.kind, self.file, self.count, self.delay = "", "", 0, 0.0
        how = chance.random()
        if how < 0.35:
            return
        late = [e for e in whole.events if e.endswith(WRITTEN_LAST) or any(f".{n}." in e for n in WRITTEN_LAST)]
        event = chance.choice(late if how > 0.8 and late else whole.events)
        self.kind, self.file = family(event)
        self.count = chance.randint(1, sum(family(e) == family(event) for e in whole.events))
        self.delay = chance.choice([0, 0, chance.uniform(0, 0.02)])

    def __str__(self) -> str:
        if not self.kind:
            return f"after {self.seconds:.2f} s"
        return f"{self.delay:.3f} s after {self.file} was {self.kind} for time {self.count}"

    def wait(self, process: Process, watch: Watch) -> None:
        begin, seen = time.monotonic(), 0
        while not process.has_ended():
            if not self.kind and time.monotonic() - begin >= self.seconds:
                return
            for event in watch.next(0.01 if self.kind else min(0.01, self.seconds)):
                seen += bool(self.kind) and family(event) == (self.kind, self.file)
            if self.kind and seen >= self.count:
                time.sleep(self.delay)
                return
            if time.monotonic() - begin > LIMIT:
                return


def family(event: str) -> tuple[str, str]:
    """What happened, and to which file, temporary names without what makes them unique."""
    kind, _, path = event.partition(" ")
    folder, _, name = path.rpartition("/")
    parts = name.split(".")
    is_temporary = name.startswith(".") and len(parts) > 3
    return kind, f"{folder}/{'.'.join(parts[:3]) if is_temporary else name}"


def killed(scenario: Scenario, whole: Whole, chance: random.Random, folder: Path) -> str | None:
    """What differs after some kills, with the kills."""
    told = []
    folder.mkdir(parents=True)
    for _ in range(chance.randint(1, 1 if scenario.imports else MOST_KILLS)):
        moment, watch = Moment(chance, whole), Watch(folder)
        process = scenario.start(folder)
        moment.wait(process, watch)
        told.append(str(moment) if process.kill(scenario.kills_all) else f"{moment}: over before, {process.code}")
        watch.close()
        if process.code not in (0, -9):
            return f"{'; '.join(told)}: exit code {process.code}: {process.errors[-2000:]}"
    process = scenario.start(folder)
    if process.wait(LIMIT) != 0:
        return f"{'; '.join(told)}: exit code {process.code}: {process.errors[-2000:]}"
    if "Traceback" in process.errors:
        return f"{'; '.join(told)}: {process.errors[-2000:]}"
    found = difference(whole.left, all_left(folder))
    return found and f"killed {', '.join(told)}: {found}; all is in {folder}"


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """So many runs that are killed, of each scenario in turn."""
    wholes: dict[str, Whole] = {}
    for number in range(count):
        scenario = SCENARIOS[number % len(SCENARIOS)]
        chance, place = random.Random(f"{seed} {number}"), folder / f"kills-{number}"
        if scenario.what not in wholes:
            wholes[scenario.what] = undisturbed(scenario, folder / f"whole-{number}")
            shutil.rmtree(folder / f"whole-{number}")
        trial = tried("kills", scenario.what, lambda: killed(scenario, wholes[scenario.what], chance, place))  # noqa: B023
        if trial.is_as_expected:
            shutil.rmtree(place)
        yield trial
