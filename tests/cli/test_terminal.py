"""What a user sees of kd-train: in a terminal, and in a file that the output is sent to."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from kd_lightning.callbacks import TermsProgressBar
from kd_lightning.config.conf import plain
from kd_lightning.experiment.folder.introduction import GROUPS
from kd_lightning.models import create_model
from kd_lightning.models.profile import profile_models
from kd_lightning.module import DistillationModule
from kd_lightning.reporting.tables.config_tree import config_tree
from kd_lightning.taps.inspection import cost_of
from tests.cli.test_configs import composed, values
from tests.conftest import Command

SHORT = ("trainer.max_epochs=1", "teacher.model=digits_cnn_8")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def text(renderable: object, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_run_says_what_it_is_about_to_do(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "loss=[ce,kd,attention]")
    tree, _, rest = outcome.output.partition("teacher : student")
    lines = tree.splitlines()
    assert lines[0].startswith("run  ")
    assert lines[1] == "kd-train, seed 0"
    for group in ("data", "student", "teacher", "loss", "optimizer", "scheduler", "trainer"):
        assert sum(re.match(rf"[├└]── {group}\b", line) is not None for line in lines) == 1, group
    assert re.search(r"kd\s+SoftTarget\(temperature=4.0\), weight 0.9", tree)
    assert re.search(r"attention\s+AttentionTransfer\(p=2\), weight 1000", tree)
    assert re.search(r"student\s+digits_cnn_4\s+1,702\s+0.02", tree)
    assert re.match(r"\s+[\d.]+ : 1\s+[\d.]+ : 1", rest)
    assert "distilled student" in rest


def test_a_finished_run_shows_its_table_alone(command: Command) -> None:
    options = (*SHORT, "teacher=none", "hydra.run.dir=run")
    command("kd-train", *options)
    again = command("kd-train", *options)
    assert "kd-train, seed" not in again.output
    assert "top-1" in again.output


def test_a_file_gets_neither_colours_nor_bars(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "teacher.weights=null")
    assert "\x1b" not in outcome.output + outcome.errors
    assert "Epoch" not in outcome.output
    assert "━" not in outcome.output
    assert "Testing" not in outcome.output


def in_a_terminal(folder: Path, columns: int, *arguments: str) -> str:
    """What kd-train writes into a terminal of so many columns."""
    screen, terminal = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "kd_lightning.commands.train", *arguments],
        cwd=folder,
        env={**os.environ, **size, "PYTHONPATH": path},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = b""
    try:
        while part := os.read(screen, 65536):
            written += part
    except OSError:  # how a pseudo-terminal says that nobody writes any more
        pass
    os.close(screen)
    assert process.wait(timeout=60) == 0, written.decode()
    return written.decode()


@pytest.mark.slow
def test_a_terminal_of_80_columns_shows_the_terms_in_whole_lines(tmp_path: Path) -> None:
    screen = in_a_terminal(tmp_path, 80, "teacher.weights=null", "trainer.max_epochs=4", "scratch=false")
    lines = [line for line in re.split(r"[\r\n]+", ESCAPE.sub("", screen)) if line.strip()]
    bars = [line for line in lines if line.startswith("Epoch")]
    assert max(map(len, bars)) <= 80
    assert any(re.search(r"loss: \d+\.\d+ ce: \d+\.\d+ kd: \d+\.\d+", line) for line in bars), bars[-3:]
    assert "train/" not in screen
    assert "v_num" not in screen
    assert "distilled student" in screen


def test_the_bar_gives_short_names(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = {"v_num": 3, "train/loss": 0.5, "train/kd": 0.25, "val/nll": 1.0, "val/top1": 0.75, "val/top5": 1.0}
    monkeypatch.setattr("lightning.pytorch.callbacks.RichProgressBar.get_metrics", lambda *_: dict(logged))
    module = DistillationModule(torch.nn.Linear(2, 3), num_classes=3)
    shown = TermsProgressBar().get_metrics(None, module)  # type: ignore[arg-type]
    assert shown == {"loss": 0.5, "kd": 0.25, "val top1": 0.75}


@pytest.mark.parametrize("value", values("experiment"))
def test_the_tree_of_an_experiment_fits_on_a_screen(value: str) -> None:
    config = composed(f"experiment={value}", "method=reviewkd")
    assert len(text(config_tree(plain(config), value, GROUPS)).splitlines()) <= 30


def test_the_summary_tells_what_the_profile_measures() -> None:
    measured = profile_models({"student": create_model("resnet8x4", 100)}, torch.rand(1, 3, 32, 32), 1)["student"]
    told = cost_of(create_model("resnet8x4", 100), torch.rand(2, 3, 32, 32))
    assert (told.params, told.flops) == (measured.params, measured.flops)


def test_a_student_is_counted_as_it_is_rebuilt(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "method=simkd", "scratch=false")
    (line,) = [line for line in outcome.output.splitlines() if re.match(r"\s+parameters ", line)]
    told = re.search(r"student\s+digits_cnn_4\s+([\d,]+)", outcome.output)
    assert told
    assert told[1] == line.split()[-1]
