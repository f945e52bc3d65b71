"""Runs of kd-train that a benchmark needs, each made once, on one thread."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kd_lightning.runs.collections.statistics import spread


def train(run: Path, *options: str) -> None:
    """One run of kd-train in a folder; a finished one is not made again."""
    if not (run / "summary.json").exists():
        called(run, f"hydra.run.dir={run}", *options)


def sweep(folder: Path, *options: str) -> None:
    """One sweep of kd-train in a folder; what is finished of it is not made again."""
    called(folder, "-m", f"hydra.sweep.dir={folder}", *options)


def called(folder: Path, *options: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w") as log:
        command = ["kd-train", *options, "callbacks.progress_bar=null"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, env=environment)
    told = "done" if done.returncode == 0 else "FAILED, see log.txt"
    print(f"{folder.parent.name}/{folder.name}: {told}", file=sys.stderr)


def summary(run: Path) -> dict[str, Any] | None:
    file = run / "summary.json"
    return json.loads(file.read_text()) if file.exists() else None


def shown(values: list[float], decimals: int = 1) -> str:
    """Mean ± standard deviation."""
    found = spread(values)
    assert found is not None
    return found.text(lambda value: f"{value:.{decimals}f}")
