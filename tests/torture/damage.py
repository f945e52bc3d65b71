"""Files that this package writes and reads back, damaged in every way, and the commands that read them.

Each command gives what it gives without the damage, or warns and names the file, or says in one line what is wrong.
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from kd_lightning.commands import cache, evaluate, report, train
from kd_lightning.system.records import warn_once

COMMANDS = {
    "kd-train": train.main,
    "kd-eval": evaluate.main,
    "kd-report": report.main,
    "kd-cache": cache.main,
}
QUICK = (
    *("trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.limit_test_batches=1"),
    *("trainer.accelerator=cpu", "callbacks.progress_bar=null", "teacher.model=digits_cnn_8"),
)
RUN = ("kd-train", *QUICK, "teacher.cache=logits")
TAUGHT = ("kd-train", *QUICK, "teacher.weights=run/student.safetensors", "teacher.model=digits_cnn_4", "scratch=false")
SWEEP = ("kd-train", "-m", *QUICK, "temperature=1,4", "scratch=false", "hydra.sweep.dir=sweep")
PHOTOS = (
    *("kd-train", *QUICK, "data=small_folder", "data.root=photos", "data.image_size=32", "data.val_fraction=0"),
    *("teacher=none", "student.model=resnet8"),
)
FORMATS = "--format=csv,html"


@dataclass(frozen=True)
class Reading:
    """A command that reads files: what is removed before it, and what is compared with the files without damage."""

    arguments: tuple[str, ...]
    results: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    shows: bool = False  # whether its output is compared, too
    goes_well: bool = False  # whether it must, whatever is damaged


AGAIN = Reading((*RUN, "hydra.run.dir=run"), ("run/summary.json",))
ENDED = Reading(AGAIN.arguments, AGAIN.results, ("run/summary.json",))
EVAL = Reading(("kd-eval", "run=run"), shows=True)
REPORT = Reading(("kd-report", "run", FORMATS), ("run/report.csv", "run/report.html"))
BESIDE = Reading(("kd-report", "run", "sweep", FORMATS), ("report.csv", "report.html"), goes_well=True)
SWEEP_AGAIN = Reading(SWEEP, ("sweep/sweep.json", "sweep/0/summary.json", "sweep/1/summary.json"))
SWEEP_REPORT = Reading(("kd-report", "sweep", FORMATS), ("sweep/report.csv", "sweep/report.html"), goes_well=True)
ANOTHER = Reading((*RUN, "temperature=2", "hydra.run.dir=other"), ("other/summary.json",))
ANOTHER_TAUGHT = Reading((*TAUGHT, "temperature=2", "hydra.run.dir=other"), ("other/summary.json",))
ANOTHER_OF_PHOTOS = Reading((*PHOTOS, "optimizer.lr=0.02", "hydra.run.dir=other"), ("other/summary.json",))
LS = Reading(("kd-cache", "ls"), shows=True, goes_well=True)
VERIFY = Reading(("kd-cache", "verify"))

FILES: dict[str, tuple[Reading, ...]] = {
    "run/summary.json": (AGAIN, EVAL, REPORT, BESIDE),
    "run/evaluation.npz": (AGAIN, REPORT, BESIDE),
    "run/environment.json": (AGAIN, REPORT),
    "run/checksums.json": (AGAIN, REPORT),
    "run/metrics.csv": (AGAIN, ENDED, REPORT),
    "run/teacher/metrics.csv": (AGAIN, REPORT),
    "run/report.html": (AGAIN,),
    "run/student.safetensors": (AGAIN, ENDED, ANOTHER_TAUGHT),
    "run/.hydra/resolved.yaml": (AGAIN, ENDED, EVAL, REPORT, BESIDE),
    "run/.hydra/config.yaml": (AGAIN, EVAL, REPORT),
    "run/.hydra/overrides.yaml": (AGAIN, EVAL, REPORT, BESIDE),
    "run/.hydra/hydra.yaml": (AGAIN, EVAL, REPORT),
    "run/checkpoints/last.ckpt": (AGAIN, ENDED, EVAL),
    "run/checkpoints/last.before.ckpt": (ENDED,),
    "run/checkpoints/best.ckpt": (AGAIN, ENDED, EVAL),
    "sweep/multirun.yaml": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/planned.json": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/sweep.json": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/0/status.json": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/0/summary.json": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/0/evaluation.npz": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/0/.hydra/resolved.yaml": (SWEEP_AGAIN, SWEEP_REPORT),
    "sweep/0/checkpoints/best.ckpt": (SWEEP_AGAIN,),
    "cache/networks/*/record.json": (ANOTHER, LS),
    "cache/networks/*/evaluation.npz": (ANOTHER, LS),
    "cache/networks/*/weights.safetensors": (ANOTHER, EVAL, LS, VERIFY),
    "cache/answers/*/cache.json": (ANOTHER, LS, VERIFY),
    "cache/answers/*/answers.bin": (ANOTHER, LS, VERIFY),
    "cache/measurements/*/record.json": (ANOTHER_TAUGHT, LS),
    "cache/measurements/*/evaluation.npz": (ANOTHER_TAUGHT, LS),
    "cache/images/*/images.json": (ANOTHER_OF_PHOTOS, LS),
    "cache/readable/*/readable.json": (ANOTHER_OF_PHOTOS, LS),
    "cache/images/*/pixels.npy": (ANOTHER_OF_PHOTOS, LS),
}


def emptied(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def truncated(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def holed(path: Path, chance: random.Random) -> None:
    """Zeros, as after a power failure."""
    content = bytearray(path.read_bytes())
    start = len(content) // 3
    content[start : 2 * start] = bytes(start)
    path.write_bytes(content)


def flipped(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def no_text(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    place = chance.randrange(len(content))
    path.write_bytes(content[:place] + b"\xff\xfe" + content[place:])


def a_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path, chance: random.Random) -> None:
    path.unlink()


def a_list(path: Path, chance: random.Random) -> None:
    path.write_text("[1]")


def a_mapping(path: Path, chance: random.Random) -> None:
    path.write_text('{"a": [1]}')


def null(path: Path, chance: random.Random) -> None:
    path.write_text("null")


def without_a_key(path: Path, chance: random.Random) -> None:
    value, holder = chosen(path, chance)
    holder.pop(chance.choice([*holder]) if isinstance(holder, dict) else 0)
    rewritten(path, value)


def of_another_type(path: Path, chance: random.Random) -> None:
    value, holder = chosen(path, chance)
    key = chance.choice([*holder]) if isinstance(holder, dict) else 0
    holder[key] = ["x"] if isinstance(holder[key], str) else "x"
    rewritten(path, value)


def chosen(path: Path, chance: random.Random) -> tuple[Any, Any]:
    """The values of a file, and one of the mappings or lists in them that are not empty, the outermost most often."""
    value = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    holders = [holder for holder in below(value) if holder]
    return value, value if chance.random() < 0.4 else chance.choice(holders)


def below(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from below(inner)


def rewritten(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value) if path.suffix == ".json" else yaml.safe_dump(value, sort_keys=False))


Damage = Callable[[Path, random.Random], None]
OF_ALL: tuple[Damage, ...] = (emptied, truncated, holed, flipped, a_folder, gone)
OF_TEXT: tuple[Damage, ...] = (no_text, a_list, a_mapping, null)
OF_VALUES: tuple[Damage, ...] = (without_a_key, of_another_type)


@dataclass(frozen=True)
class Attempt:
    """A file, what is done to it, and a command that reads it."""

    file: str
    damage: Damage
    reading: Reading
    seed: int = 0

    @property
    def kind(self) -> str:
        return f"damage of {self.file}"

    def __str__(self) -> str:
        return f"{self.file} {self.damage.__name__} ({self.seed}): {' '.join(self.reading.arguments)[:60]}"


def attempts(seed: int = 0) -> Iterator[Attempt]:
    """Each file with each damage that it can have, and each command that reads it."""
    for file, readings in FILES.items():
        is_text = file.endswith((".json", ".yaml", ".csv", ".html"))
        damages = OF_ALL + OF_TEXT * is_text + OF_VALUES * file.endswith((".json", ".yaml"))
        for damage in damages:
            for reading in readings:
                if not (damage is gone and file == "run/summary.json" and reading is not AGAIN):  # then unfinished
                    yield Attempt(file, damage, reading, seed)


def trials(count: int, seed: int, folder: Path) -> Iterator[Any]:
    """So many of all attempts, by chance, as the table of `python -m tests.torture` shows them."""
    from tests.torture.trial import tried

    whole = prepared(folder / "whole")
    found = [*attempts(seed)]
    for attempt in random.Random(seed).sample(found, min(count, len(found))):
        yield tried("damage", attempt.file, lambda attempt=attempt: problem(attempt, whole, folder / "damaged"))
    shutil.rmtree(folder / "damaged", ignore_errors=True)
    shutil.rmtree(whole)


def prepared(folder: Path) -> Path:
    """A folder with a run, a sweep, a small folder of images, and the cache of them all."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = folder / "photos" / ("val" if number % 4 == 3 else "train") / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        os.utime(path, (0, 0))
    (folder / "photos/val/class0").mkdir()
    shutil.copy(folder / "photos/train/class0/0.png", folder / "photos/val/class0/9.png")
    for number, arguments in enumerate((RUN, TAUGHT, PHOTOS)):
        name = "run" if number == 0 else f"before{number}"
        done = run((*arguments, f"hydra.run.dir={name}"), folder)
        assert done.code == 0, done.errors
    done = run(SWEEP, folder)
    assert done.code == 0, done.errors
    return folder


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    output: str
    errors: str


def run(arguments: tuple[str, ...], folder: Path) -> Done:
    """Run a command in this process, in a folder with its own cache."""
    output, errors, before, code = io.StringIO(), io.StringIO(), (Path.cwd(), sys.argv), 0
    os.environ.update(KD_LIGHTNING_CACHE=str(folder / "cache"), COLUMNS="300")
    warn_once.cache_clear()
    os.chdir(folder)
    sys.argv = [*arguments]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                COMMANDS[arguments[0]]()
            except SystemExit as stop:
                code = int(stop.code or 0)
            except Exception:
                traceback.print_exc()
                code = 1
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
    return Done(code, output.getvalue(), errors.getvalue())


RESULTS: dict[tuple[Path, Reading], Any] = {}  # of the whole files


def problem(attempt: Attempt, whole: Path, folder: Path) -> str | None:
    """What was not as it has to be; None in the best case."""
    reading = attempt.reading
    if (whole, reading) not in RESULTS:
        done = within(whole, folder, reading)
        assert done.code == 0, done.errors
        RESULTS[whole, reading] = results(reading, folder, done)
    shutil.rmtree(folder, ignore_errors=True)
    done = within(whole, folder, reading, attempt)
    return verdict(attempt, folder, done, RESULTS[whole, reading])


def within(whole: Path, folder: Path, reading: Reading, attempt: Attempt | None = None) -> Done:
    """The command, in a copy of the whole files, of which one may be damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    for name in reading.removed:
        (folder / name).unlink()
    if attempt is not None:
        chance = random.Random(f"{attempt.seed} {attempt.file} {attempt.damage.__name__}")
        for path in sorted(folder.glob(attempt.file)):
            attempt.damage(path, chance)
    return run(reading.arguments, folder)


def results(reading: Reading, folder: Path, done: Done) -> Any:
    """What came out: files without times, and of some commands the output."""
    found = [without_times(content(folder / name)) for name in reading.results]
    return found, done.output if reading.shows else None


def content(path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return re.sub(r", \d{4}-\d\d-\d\d \d\d:\d\d\b", "", path.read_text())  # when a page was made


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        is_time = {name: name in ("time", "memory") or name.startswith("latency") for name in value}
        return {name: without_times(inner) for name, inner in value.items() if not is_time[name]}
    return value


def verdict(attempt: Attempt, folder: Path, done: Done, expected: Any) -> str | None:
    """What is wrong with an outcome; None where nothing is."""
    lines = done.errors.splitlines()
    parts = [*Path(attempt.file).parts[-2:], *(path.parent.name for path in folder.glob(attempt.file))]
    names = [name for name in parts if name not in ("*", "run", "checkpoints", ".hydra", "0", "teacher")]
    told = [line for line in lines if line.startswith("warning: ") and any(name in line for name in names)]
    if "Traceback" in done.errors + done.output:
        return f"{attempt}: a traceback, {lines[-1] if lines else ''}"
    if done.code == 0:
        same = results(attempt.reading, folder, done) == expected
        heard = same or told or "damaged" in done.output or "is not there" in done.output
        return None if heard else f"{attempt}: another result without a word"
    if attempt.reading.goes_well:
        return f"{attempt}: exit code {done.code}, {done.errors[-300:]}"
    said = [line for line in lines if line.startswith("error: ")] or [
        line for line in done.output.splitlines() if "cannot be verified" in line
    ]
    if len(said) != 1 or done.code not in (1, 2):
        return f"{attempt}: exit code {done.code}, {len(said)} lines of errors, {done.errors[-300:]}"
    heard = told or any(name in said[0] for name in names)
    return None if heard else f"{attempt}: does not name the file, {said[0]}"
