"""One trial, and the table of many."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Trial(NamedTuple):
    """What was tried, how long it took, and what was not as expected: nothing in the best case."""

    kind: str
    what: str
    seconds: float
    problem: str | None

    @property
    def is_as_expected(self) -> bool:
        return self.problem is None


def tried(kind: str, what: str, attempt: Callable[[], str | None]) -> Trial:
    """The trial of an attempt, which returns what was not as expected, or None."""
    begin = time.monotonic()
    problem = attempt()
    return Trial(kind, what, time.monotonic() - begin, problem)


def table(trials: Iterable[Trial]) -> Table:
    """How many of each kind there were, how many went as expected, and their seconds."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.kind, trial.what), []).append(trial)
    shown = Table("kind", "what", box=SIMPLE_HEAD)
    for title in ("trials", "as expected", "seconds"):
        shown.add_column(title, justify="right")
    for (kind, what), group in groups.items():
        shown.add_row(kind, what, *counts(group))
    shown.add_section()
    shown.add_row("all", "", *counts([trial for group in groups.values() for trial in group]))
    return shown


def counts(group: list[Trial]) -> tuple[str, str, str]:
    right = sum(trial.is_as_expected for trial in group)
    return str(len(group)), str(right), f"{sum(trial.seconds for trial in group):.0f}"


def show(trials: list[Trial], console: Console) -> bool:
    """Print the table and what was not as expected; whether all of it was."""
    console.print(table(trials))
    wrong = [trial for trial in trials if not trial.is_as_expected]
    for trial in wrong:
        console.print(Text(f"{trial.kind}, {trial.what}: {trial.problem}"), soft_wrap=True)
    return not wrong
