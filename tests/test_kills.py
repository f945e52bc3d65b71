"""Runs that are killed, at any moment, end as they would have."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.tracking.metrics_rows import read_rows

RUN = (
    *("trainer.max_epochs=4", "trainer.log_every_n_steps=1", "callbacks.progress_bar=null", "trainer.accelerator=cpu"),
    *("teacher.model=digits_cnn_8", "scratch=false", "student.model={_target_: tests.test_resume.Forgetful}"),
)
WITHIN_EPOCHS = ("callbacks.checkpoint_timed.every_minutes=1e-6",)  # after every step
TIMES = {"time", "memory"}


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kd_lightning.commands.train", *RUN, *options, f"hydra.run.dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[1])


def finish(folder: Path, *options: str) -> None:
    process = start(folder, *options)
    assert process.wait(300) == 0, (folder.parent / f"{folder.name}.log").read_text()[-2000:]


def kill_at(folder: Path, moment: str, delay: float, *options: str) -> bool:
    """SIGKILL so many seconds after a file of the run is there; False where the run ended before."""
    process = start(folder, *options)
    begin = time.monotonic()
    while not list(folder.glob(moment)) and process.poll() is None and time.monotonic() - begin < 200:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: without_times(v) for n, v in value.items() if n not in TIMES and not n.startswith("latency")}
    return value


def outcome(folder: Path) -> dict[str, Any]:
    """What a run leaves behind, without times."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    rows = read_rows(folder / "metrics.csv")
    return {
        "weights": {name: value.tolist() for name, value in last["state_dict"].items()},
        "file": (folder / "student.safetensors").read_bytes(),
        "summary": without_times(json.loads((folder / "summary.json").read_text())),
        "metrics": [{n: v for n, v in row.items() if n != "train/images_per_s"} for row in rows],
        "page": (folder / "report.html").exists(),
        "strays": sorted(path.name for path in folder.rglob(".*.*") if path.is_file() and path.parent.name != ".hydra"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), WITHIN_EPOCHS], ids=["by epochs", "within epochs"])
def test_a_run_that_is_killed_again_and_again_ends_as_it_would_have(tmp_path: Path, options: tuple[str, ...]) -> None:
    chance = random.Random(len(options))
    finish(tmp_path / "whole", *options)
    moments = ["metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "student.safetensors", "evaluation.npz"]
    for moment in moments:
        kill_at(tmp_path / "cut", moment, chance.uniform(0, 0.3), *options)
    finish(tmp_path / "cut", *options)
    whole, cut = outcome(tmp_path / "whole"), outcome(tmp_path / "cut")
    for part in whole:
        assert cut[part] == whole[part], part
