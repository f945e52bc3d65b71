"""Runs in processes of their own, for tests of how they end."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.torture.outcome import left_in

RUN = (
    *("trainer.max_epochs=4", "trainer.log_every_n_steps=1", "callbacks.progress_bar=null", "trainer.accelerator=cpu"),
    *("teacher.model=digits_cnn_8", "scratch=false", "student.model={_target_: tests.runs.test_resume.Forgetful}"),
)


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "kd_lightning.commands.train", *RUN, *options, f"hydra.run.dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])


def finish(folder: Path, *options: str) -> None:
    process = start(folder, *options)
    assert process.wait(300) == 0, (folder.parent / f"{folder.name}.log").read_text()[-2000:]


def outcome(folder: Path) -> dict[str, Any]:
    """What a run leaves behind, without times; of a page, which tells the run's name and options, that it is whole."""
    return {name: name if name.endswith(".html") else value for name, value in left_in(folder).items()}
