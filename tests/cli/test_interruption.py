"""Runs that a signal asks to end: saved, with a line how they go on, and as they would have ended once they do."""

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.system.interruption import interruption
from tests.conftest import Command
from tests.runs.run_process import RUN, finish, outcome, start

SMALL = (*RUN, "teacher=none", "trainer.max_epochs=3")
LAST = "checkpoints/last.ckpt"


class Signal(Callback):
    """A signal to a rank, or several, in a batch of the second epoch, of the training or of its validation."""

    def __init__(self, name: str, within: str, batch: int, times: int = 1, rank: int = 0) -> None:
        self.signal, self.within, self.batch, self.times = signal.Signals[name], within, batch, times
        self.rank = rank

    def send(self, trainer: Trainer, within: str, batch_idx: int) -> None:
        if "SIGNAL" not in os.environ or trainer.global_rank != self.rank:
            return
        if (trainer.current_epoch, within, batch_idx) == (1, self.within, self.batch):
            for _ in range(self.times):
                os.kill(os.getpid(), self.signal)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.send(trainer, "training", batch_idx)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        self.send(trainer, "validation", batch_idx)


def sent(arguments: str) -> str:
    return f"+callbacks.signal={{_target_: tests.cli.test_interruption.Signal, {arguments}}}"


@pytest.fixture(autouse=True)
def _not_ignored() -> Iterator[None]:
    """Ctrl-C, which a shell's job in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(folder, *SMALL)
    return outcome(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "within", "batch", "code", "step"),
    [
        ("SIGTERM", "training", 2, 143, 7 + 3),
        ("SIGTERM", "training", 6, 143, 2 * 7),
        ("SIGINT", "validation", 0, 130, 2 * 7),
        ("SIGUSR1", "training", 2, 138, 7 + 3),
    ],
)
def test_a_signal_saves_the_run_and_says_how_it_goes_on(
    name: str,
    within: str,
    batch: int,
    code: int,
    step: int,
    whole: dict[str, Any],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (*SMALL, sent(f"name: {name}, within: {within}, batch: {batch}"), "hydra.run.dir=cut")
    monkeypatch.setenv("SIGNAL", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    stopped = command("kd-train", *arguments)
    assert stopped.code == code
    assert f"interrupted by {name}, saved after step {step}; the same command with hydra.run.dir=" in stopped.errors
    assert torch.load(Path("cut", LAST), weights_only=True)["global_step"] == step
    monkeypatch.delenv("SIGNAL")
    assert command("kd-train", *arguments).code == 0
    cut = outcome(Path("cut"))
    for part in whole:
        assert cut[part] == whole[part], part


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_run_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNAL", "1")
    process = start(tmp_path / "run", *SMALL, sent("name: SIGINT, within: training, batch: 2, times: 2"))
    assert process.wait(200) == 130
    assert torch.load(tmp_path / "run" / LAST, weights_only=True)["global_step"] == 7, "of the epoch before"


class SlowWriting(Callback):
    """Has checkpoints of the second epoch take seconds to be written; a file tells when one is half there."""

    def __init__(self, folder: str) -> None:
        self.begun = Path(folder) / "half"

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1 and "SLOW" in os.environ:
            torch.save = self.save

    def save(self, value: Any, path: Path) -> None:
        whole = io.BytesIO()
        SAVE(value, whole)
        half = len(whole.getvalue()) // 2
        with path.open("wb") as file:
            file.write(whole.getvalue()[:half])
            file.flush()
            self.begun.touch()
            for _ in range(500):
                time.sleep(0.01)
            file.write(whole.getvalue()[half:])


SAVE = torch.save


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "ranks", "code", "step"),
    [
        ("SIGTERM", "SIGINT", (), 130, 7),
        ("SIGINT", "SIGTERM", (), 143, 7 + 3),  # which is no more in a hurry than the first
        ("SIGTERM", "SIGTERM", ("trainer=ddp", "trainer.accelerator=cpu"), 143, 3),
    ],
)
def test_a_second_signal_while_a_checkpoint_is_written_leaves_a_whole_one(
    first: str,
    second: str,
    ranks: tuple[str, ...],
    code: int,
    step: int,
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    slow = f"+callbacks.slow={{_target_: tests.cli.test_interruption.SlowWriting, folder: {tmp_path}}}"
    arguments = (*SMALL, *ranks, sent(f"name: {first}, within: training, batch: 2"), slow)
    for name in ("SIGNAL", "SLOW"):
        monkeypatch.setenv(name, "1")
    process = start(folder, *arguments)
    begin = time.monotonic()
    while not (tmp_path / "half").exists():
        assert process.poll() is None
        assert time.monotonic() - begin < 200
        time.sleep(0.02)
    time.sleep(1.5)
    process.send_signal(signal.Signals[second])
    assert process.wait(30) == code
    said = [line for line in (tmp_path / "run.log").read_text().splitlines() if line.startswith("interrupted")]
    place = f", saved after step {step}" if step == 10 else ""
    assert said == [f"interrupted by {second}{place}; the same command with hydra.run.dir={folder} goes on"]
    assert torch.load(folder / LAST, weights_only=True)["global_step"] == step
    for name in ("SIGNAL", "SLOW"):
        monkeypatch.delenv(name)
    finish(folder, *arguments)
    assert not [path for path in folder.rglob(".*") if path.is_file() and path.parent.name == "checkpoints"]
    if not ranks:
        cut = outcome(folder)
        for part in whole:
            assert cut[part] == whole[part], part


def test_a_second_ctrl_c_says_how_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    left: list[int] = []
    monkeypatch.setattr("kd_lightning.system.interruption.leave", left.append)
    with interruption.handled():
        interruption.waits, interruption.remedy = True, "the same command goes on"
        os.kill(os.getpid(), signal.SIGTERM)
        assert left == []
        os.kill(os.getpid(), signal.SIGINT)
    assert left == [130]
    assert capfd.readouterr().err == "interrupted by SIGINT; the same command goes on\n"


def test_a_signal_outside_of_a_training_ends_the_run_at_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_lightning.experiment.run.save_config", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopped = command("kd-train", *SMALL, "hydra.run.dir=a run")
    assert stopped.code == 143
    remedy = f"the same command with hydra.run.dir='{stopped.folder}/a run' goes on"
    assert stopped.errors.splitlines()[-1] == f"interrupted by SIGTERM; {remedy}"
    assert stopped.output.split("\n")[0].split(maxsplit=1) == ["run", f"if it is interrupted, {remedy}"]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
