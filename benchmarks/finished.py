"""Runs of kd-train that a benchmark needs, each made once, on one thread."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kd_lightning.runs.collections.statistics import paired, spread


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


def runs(folder: Path) -> list[dict[str, Any]]:
    """The summaries of a sweep's jobs, by seed."""
    found = [summary(file.parent) for file in folder.glob("*/summary.json")]
    return sorted((run for run in found if run is not None), key=lambda run: run["seed"])


def difference(values: list[float], of_control: list[float], decimals: int = 1) -> str:
    """The mean paired difference in points, with its 95 % interval; blank without one."""
    found = paired([*zip(values, of_control, strict=True)])
    if found is None or found.difference.low is None:
        return ""
    assert found.difference.high is not None
    mean, low, high = (
        f"{one:+.{decimals}f}" for one in (found.difference.mean, found.difference.low, found.difference.high)
    )
    return f"{mean} ({low} to {high})"
