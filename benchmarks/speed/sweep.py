"""A sweep over temperature and alpha, nine jobs, with and without the teacher's cache, as kd-train runs it."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.settings import LARGE_TEACHER, PAIRS, Pair
from benchmarks.speed.startup import CLONE, TRAIN
from benchmarks.speed.timing import Row, say
from kd_lightning.models import create_model, save_weights

GRID = ["temperature=1,2,4", "alpha=0.1,0.5,0.9"]
JOBS = 9
COMMAND, FIT, STEPS = "the whole command", "fit, with its validation", "the training steps alone"


class Length(NamedTuple):
    """How long each job trains. Validation takes its part of the time as in a full run, a ninth of the images.

    The test, and the measurement of the teacher, come once a job; in a run of 240 epochs they take less than 1 %, and
    so they take one batch here.
    """

    images: int
    epochs: int

    def overrides(self) -> list[str]:
        return [
            f"data.train_samples={self.images}",
            f"data.eval_batch_size={self.images // 9}",
            f"trainer.max_epochs={self.epochs}",
            "trainer.limit_val_batches=1",
            "trainer.limit_test_batches=1",
        ]


LENGTH = Length(images=448, epochs=2)


def measure(root: Path, folder: Path) -> list[Row]:
    """A pair whose student takes as long as the teacher, and one whose training is almost all teacher."""
    pairs = (PAIRS[0], LARGE_TEACHER)
    return [row for pair in pairs for row in compare(pair, root, folder / pair.teacher, LENGTH)]


def compare(pair: Pair, root: Path, folder: Path, length: Length) -> list[Row]:
    """Seconds of the whole command, and of its training steps alone, without the cache and with an empty one."""
    say(f"sweep: {pair}")
    folder.mkdir()
    weights = folder / "teacher.safetensors"
    save_weights(create_model(pair.teacher, 100, 3), weights, {})
    given = [
        *GRID,
        "data=cifar100",
        f"data.root={root}",
        f"teacher.model={pair.teacher}",
        f"teacher.weights={weights}",
        f"student.model={pair.student}",
        "scratch=false",
        "trainer.accelerator=cpu",
        *length.overrides(),
    ]
    seconds = {cache: run(given, cache, length, folder) for cache in ("off", "logits")}
    off, cached = seconds.values()
    samples = {f"{cache}, {part}": [value] for cache, parts in seconds.items() for part, value in parts.items()}
    return [
        Row(
            "sweep",
            f"{JOBS} jobs, {pair}: {part}, without over with the cache",
            off[part],
            cached[part],
            "s",
            off[part] / cached[part],
            samples,
        )
        for part in (COMMAND, STEPS)
    ]


def run(overrides: list[str], cache: str, length: Length, folder: Path) -> dict[str, float]:
    """Seconds of a sweep by part. Raises `CalledProcessError` where it fails, `AssertionError` where a job does."""
    home = folder / cache
    environment = {**os.environ, "KD_LIGHTNING_CACHE": str(home / "cache")}
    command = [*TRAIN, "-m", *overrides, f"teacher.cache={cache}", f"hydra.sweep.dir={home / 'jobs'}"]
    began = time.perf_counter()
    subprocess.run(command, cwd=CLONE, env=environment, check=True, capture_output=True, text=True)
    total = time.perf_counter() - began
    times = [json.loads(file.read_text())["time"] for file in (home / "jobs").glob("*/summary.json")]
    assert len(times) == JOBS, f"{home} has {len(times)} finished jobs"
    fits = sum(job["fit_s"] for job in times)
    steps = sum(length.epochs * length.images / job["images_per_s"] for job in times)
    say(f"  cache {cache}: {total:.0f} s, {fits:.0f} of them in fit, {steps:.0f} of these in training steps")
    return {COMMAND: total, FIT: fits, STEPS: steps}
