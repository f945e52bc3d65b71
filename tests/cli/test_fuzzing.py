"""Random configs: each key with values that it was not made for. A run finishes, or one line says why not.

What is drawn depends on the seed alone. The long test prints a table of the outcomes by group.
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from kd_lightning.config.conf import options
from tests.cli.test_configs import composed
from tests.conftest import Command, Outcome

# A run of two steps; whatever is drawn stands behind it and so counts.
QUICK = (
    *("teacher.weights=null", "teacher.model=digits_cnn_4", "scratch=false", "callbacks.progress_bar=null"),
    *("trainer.max_epochs=1", "trainer.max_steps=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
)
WATCHED = ("callbacks.early_stopping.monitor=train/loss", "callbacks.progress_bar=null")  # two steps validate nothing
BASES = (
    (),
    ("loss=[ce,kd,fitnet,attention]", "scheduler=step", "callbacks=early_stopping", *WATCHED),
    ("optimizer=adamw", "scheduler=warmup_cosine", "teacher.cache=logits", "logger=[csv,tensorboard,wandb]"),
    ("method=mlkd",),
    ("method=ab", "initialization.epochs=1"),
    ("method=crd", "loss.crd.loss.negatives=16"),
    ("method=simkd",),
)
NUMBERS = ("-1", "0", "1", "3", "100000", "0.5", "1.5", "1e9", "1e-9", "-1e9", "nan", "inf", "-inf")
WORDS = ("abc", "''", "a/b", "x" * 300, "train", "val/nll", "auto", "max", "step", "16", "cpu", "torch.nn.Linear")
OTHERS = ("null", "[]", "{}", "true", "false", "[1,abc]", "[0.5,0.5]", "{a: 1}")
DELETED = "deleted"
GROUPS = (
    *("data", "student", "teacher", "optimizer", "scheduler", "trainer"),
    *("callbacks", "logger", "loss", "method", "paths"),
)
NEVER = {("paths.runs", "''")}  # writes at the root of the file system
COUNT = 300  # of the long test
FINISHED, REFUSED, DIVERGED, FAILED = "finished", "refused", "diverged", "failed"


class Draw(NamedTuple):
    """A config, and what is changed of it."""

    base: tuple[str, ...]
    key: str
    value: str

    @property
    def arguments(self) -> list[str]:
        change = f"~{self.key}" if self.value == DELETED else f"{self.key}={self.value}"
        return [*QUICK, *self.base, change]

    @property
    def group(self) -> str:
        return self.key.partition(".")[0]


def leaves(part: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a config with their values, and those of the mappings that hold them."""
    if isinstance(part, Mapping):
        for name, inner in part.items():
            yield f"{key}{name}", inner
            yield from leaves(inner, f"{key}{name}.")


def draws(seed: int) -> Iterator[Draw]:
    """Without an end: one in five a whole group; of a single key, every other value of the kind that stands there."""
    chance = random.Random(seed)
    configs = {base: list(leaves(OmegaConf.to_container(composed(*QUICK, *base), resolve=True))) for base in BASES}
    while True:
        base = chance.choice(BASES)
        if chance.random() < 0.2:
            group = chance.choice(GROUPS)
            other = chance.choice(options(chance.choice(GROUPS)))
            yield Draw(base, group, chance.choice(["null", "[]", "3", "abc", other, DELETED]))
            continue
        key, value = chance.choice(configs[base])
        similar = {float: NUMBERS, int: NUMBERS, str: WORDS}.get(type(value), OTHERS)
        drawn = chance.choice(similar if chance.random() < 0.5 else [*NUMBERS, *WORDS, *OTHERS, DELETED])
        if (key, drawn) not in NEVER:
            yield Draw(base, key, drawn)


def judged(draw: Draw, run: Callable[[], Outcome]) -> tuple[str, str]:
    """What became of it, and the line that says so."""
    try:
        outcome = run()
    except Exception as error:  # what would be a traceback of the command
        return FAILED, f"{type(error).__name__}: {error}"
    if outcome.code == 0:
        return FINISHED, ""
    (line, *more) = outcome.error_lines or [outcome.errors]
    if outcome.code == 1 and not more and "not finite" in line:  # as with a learning rate of a billion
        return DIVERGED, line
    is_clear = outcome.code == 2 and not more and "Traceback" not in outcome.errors and names(line, draw)
    left_nothing = not list(outcome.folder.glob("outputs/*/*"))
    return (REFUSED if is_clear and left_nothing else FAILED), line


def names(line: str, draw: Draw) -> bool:
    """Whether an error line names what was changed: what stands last in the key, or a class that was drawn.

    One key of a group may decide another, such as data.augment how many data.views there are; and what is taken away
    leaves behind what was typed beside it.
    """
    if draw.value == DELETED and any(line.startswith(f"error: {typed.partition('=')[0]}=") for typed in draw.base):
        return True
    is_named = draw.key.rpartition(".")[2] in line or line.startswith(f"error: {draw.group}.")
    return is_named or (draw.key.endswith("_target_") and draw.value in line)


def fuzz(command: Command, folder: Path, chosen: Iterable[Draw]) -> list[tuple[Draw, str, str]]:
    results = []
    for draw in chosen:
        outcome, line = judged(draw, lambda draw=draw: command("kd-train", *draw.arguments))  # type: ignore[misc]
        results.append((draw, outcome, line))
        shutil.rmtree(folder / "outputs", ignore_errors=True)
    return results


def table(results: Iterable[tuple[Draw, str, str]]) -> Table:
    """How many draws of each group came to which end."""
    outcomes = (FINISHED, REFUSED, DIVERGED, FAILED)
    counts = Counter((draw.group, outcome) for draw, outcome, _ in results)
    shown = Table("group", *outcomes, title="Random configs")
    for group in sorted({group for group, _ in counts}):
        shown.add_row(group, *(str(counts[group, outcome]) for outcome in outcomes))
    totals = Counter(outcome for _, outcome, _ in results)
    shown.add_row("all", *(str(totals[outcome]) for outcome in outcomes), style="bold")
    return shown


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def failures(results: Iterable[tuple[Draw, str, str]]) -> list[str]:
    return [f"{' '.join(draw.arguments[len(QUICK) :])}: {line}" for draw, outcome, line in results if outcome == FAILED]


def test_a_few_random_configs_run_or_are_refused(command: Command, tmp_path: Path) -> None:
    assert not failures(fuzz(command, tmp_path, islice(draws(seed=0), 12)))


@pytest.mark.slow
def test_random_configs_run_or_are_refused(command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = fuzz(command, tmp_path, islice(draws(seed=1), COUNT))
    with capfd.disabled():
        Console().print(table(results))
    assert not failures(results)
