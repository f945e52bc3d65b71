"""Random configs: a run finishes, or one line says why not; see tests/cli/test_fuzzing.py."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.cli.test_fuzzing import FAILED, Draw, draws, judged
from tests.conftest import Outcome
from tests.torture.forked import start
from tests.torture.trial import Trial, tried

LIMIT = 300.0  # seconds for a run of two steps


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """So many runs, each with one change of its config."""
    place = folder / "configs"
    for draw in islice(draws(seed), count):
        yield tried("configs", f"a value of {draw.group}", lambda draw=draw: problem(draw, place, folder / "cache"))
    shutil.rmtree(place, ignore_errors=True)


def problem(draw: Draw, folder: Path, cache: Path) -> str | None:
    """What was not as it has to be, and of what."""
    shutil.rmtree(folder, ignore_errors=True)

    def run() -> Outcome:
        process = start("kd-train", tuple(draw.arguments), folder, {"KD_LIGHTNING_CACHE": str(cache)})
        code = process.wait(LIMIT)
        return Outcome(code, process.output, process.errors, folder)

    end, line = judged(draw, run)
    return f"{' '.join((*draw.base, draw.arguments[-1]))}: {line}" if end == FAILED else None
