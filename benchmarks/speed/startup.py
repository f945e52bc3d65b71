"""From typing a command to its first training step, and to its help."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from lightning.pytorch.callbacks import Callback

from benchmarks.speed.timing import Row, say

CLONE = Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, "-m", "kd_lightning.commands.train"]
IMPORTS = [sys.executable, "-c", "import torch, lightning"]
STAMP = "KD_LIGHTNING_FIRST_STEP"
REPEATS = 3


class FirstStep(Callback):
    """Ends the process once the first training step is made, and notes the time in the file that STAMP names."""

    def on_train_batch_end(self, *_: Any) -> None:
        Path(os.environ[STAMP]).write_text(str(time.time()))
        os._exit(0)


def measure(root: Path, folder: Path, repeats: int = REPEATS) -> list[Row]:
    """Seconds; beside them those of importing torch and lightning alone, which no command is faster than."""
    cifar = ["data=cifar100", f"data.root={root}", "teacher.model=resnet32x4", "student.model=resnet8x4"]
    commands = {
        "kd-train --help": [*TRAIN, "--help"],
        "kd-train to the first step": [*TRAIN, *until_first_step(folder)],
        "kd-train data=cifar100 … to the first step": [*TRAIN, *cifar, *until_first_step(folder)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ("imports", *commands)}
    for _ in range(repeats):
        seconds["imports"].append(run(IMPORTS, folder))
        for name, command in commands.items():
            seconds[name].append(run(command, folder))
            say(f"  {name}: {seconds[name][-1]:.1f} s")
    floor = statistics.median(seconds["imports"])
    return [row(name, floor, seconds[name]) for name in commands]


def row(name: str, floor: float, seconds: list[float]) -> Row:
    ours = statistics.median(seconds)
    what = f"{name}, over importing torch and lightning"
    return Row("startup", what, floor, ours, "s", ours / floor, {"ours": seconds})


def until_first_step(folder: Path) -> list[str]:
    return [f"+callbacks.first_step._target_={__name__}.{FirstStep.__name__}", f"paths.runs={folder}"]


def run(command: list[str], folder: Path) -> float:
    """Seconds until the first training step, or until the command's end where it trains nothing.

    Raises `CalledProcessError` where it fails.
    """
    cache = Path(mkdtemp(dir=folder))
    stamp = cache / "first_step"
    environment = {**os.environ, "KD_LIGHTNING_CACHE": str(cache), STAMP: str(stamp)}
    began = time.time()
    subprocess.run(command, cwd=CLONE, env=environment, check=True, capture_output=True, text=True)
    ended = float(stamp.read_text()) if stamp.exists() else time.time()
    return ended - began
