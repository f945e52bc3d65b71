"""Several ranks: what ends one ends all of them, with one line, and what is saved goes on as it would have."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from kd_lightning.runs.metrics_rows import read_rows
from tests.cli.test_interruption import LAST, SMALL, sent
from tests.runs.run_process import finish, outcome, start

RANKS = (*SMALL, "trainer=ddp", "trainer.accelerator=cpu")
ENDLESS = "trainer.max_epochs=40000"
WITHIN = 30.0  # seconds


class Fault(Callback):
    """Something that a rank does in the second batch of the second epoch."""

    def __init__(self, what: str, rank: int) -> None:
        self.what, self.rank = what, rank

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == self.rank and (trainer.current_epoch, batch_idx) == (1, 1):
            if self.what == "hang":
                time.sleep(1000)
            raise ValueError("my own fault")


class OwnLosses(Callback):
    """Keeps the losses of each rank itself in a file."""

    def __init__(self, folder: str) -> None:
        self.folder, self.losses = Path(folder), [torch.empty(0)]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].detach().flatten())

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        torch.save(torch.cat(self.losses), self.folder / f"{trainer.global_rank}.pt")


def fault(what: str, rank: int) -> str:
    return f"+callbacks.fault={{_target_: tests.runs.test_ranks.Fault, what: {what}, rank: {rank}}}"


def wait_for(what: Any, seconds: float = 200.0) -> None:
    begin = time.monotonic()
    while not what():
        assert time.monotonic() - begin < seconds
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text() if path.exists() else ""


def ranks_of(first: subprocess.Popen[bytes]) -> list[int]:
    """The processes of the two ranks that the first one's is."""
    (second,) = (pid for pid in children(first.pid) if "train_ddp_process_1" in command_line(pid))
    return [first.pid, second]


def trained(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A training of two ranks after its first epoch."""
    first = start(folder, *RANKS, *options)
    wait_for(lambda: (folder / LAST).exists() or first.poll() is not None)
    return first, ranks_of(first)


def ended(first: subprocess.Popen[bytes], pids: list[int], folder: Path) -> tuple[int, list[str]]:
    """The exit code of a training that shall end now, and what it says of that."""
    code = first.wait(WITHIN)
    wait_for(lambda: not command_line(pids[1]), WITHIN)
    log = (folder.parent / f"{folder.name}.log").read_text()
    return code, [line for line in log.splitlines() if re.match(r"interrupted|error|(\[rank\d\]: )?Traceback", line)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ranks"), [("SIGTERM", [0]), ("SIGTERM", [1]), ("SIGINT", [0, 1])])
def test_a_signal_saves_all_ranks_and_ends_them_with_one_line(name: str, ranks: list[int], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, pids = trained(folder, ENDLESS)
    for rank in ranks:
        os.kill(pids[rank], signal.Signals[name])
    code, said = ended(first, pids, folder)
    step = torch.load(folder / LAST, weights_only=True)["global_step"]
    remedy = f"the same command with hydra.run.dir={folder} goes on"
    assert (code, said) == (128 + signal.Signals[name], [f"interrupted by {name}, saved after step {step}; {remedy}"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two ranks that nobody interrupts; beside it each rank's losses."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(folder, *RANKS, f"+callbacks.own={{_target_: tests.runs.test_ranks.OwnLosses, folder: {folder.parent}}}")
    return folder


@pytest.mark.slow
def test_what_is_logged_is_the_mean_over_the_ranks(whole: Path) -> None:
    first, second = (torch.load(whole.parent / f"{rank}.pt") for rank in range(2))
    assert not torch.equal(first, second)
    for name in ("train/loss", "train/ce", "train/ce_weighted"):
        logged = [float(row[name]) for row in read_rows(whole / "metrics.csv") if row.get(name)]
        torch.testing.assert_close(torch.tensor(logged), (first + second) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(("within", "batch", "rank"), [("training", 1, 1), ("training", 2, 0), ("validation", 0, 1)])
def test_a_training_that_a_signal_to_one_rank_ended_goes_on_as_it_would_have(
    within: str, batch: int, rank: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled = sent(f"name: SIGTERM, within: {within}, batch: {batch}, rank: {rank}")
    monkeypatch.setenv("SIGNAL", "1")
    assert start(tmp_path / "run", *RANKS, signalled).wait(200) == 143
    assert "saved after step" in (tmp_path / "run.log").read_text()
    monkeypatch.delenv("SIGNAL")
    finish(tmp_path / "run", *RANKS, signalled)
    expected, cut = outcome(whole), outcome(tmp_path / "run")
    for part in expected:
        assert cut[part] == expected[part], part


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_all_with_one_line(rank: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, pids = trained(folder, ENDLESS)
    os.kill(pids[rank], signal.SIGKILL)
    code, said = ended(first, pids, folder)
    how = " by SIGKILL" if rank else ""
    remedy = f"the same command with hydra.run.dir={folder} goes on"
    assert said == [f"error: rank {rank} was ended{how}, and so are all; {remedy}"]
    assert code == (1 if rank else -signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_fails_ends_all_with_its_own_traceback(rank: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, pids = trained(folder, ENDLESS, fault("fail", rank))
    code, said = ended(first, pids, folder)
    assert (code, len(said)) == (1, 1), said
    assert (tmp_path / "run.log").read_text().count("ValueError: my own fault") == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_ends_ranks_of_which_one_hangs(rank: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, pids = trained(folder, ENDLESS, fault("hang", 1))
    os.kill(pids[rank], signal.SIGTERM)
    code, said = ended(first, pids, folder)
    said = [re.sub(r", saved after step \d+", "", line) for line in said]  # where the signal comes before it hangs
    assert (code, said) == (143, [f"interrupted by SIGTERM; the same command with hydra.run.dir={folder} goes on"])


def started_outside(folder: Path) -> list[subprocess.Popen[bytes]]:
    """Two ranks as torchrun would start them, after their first epoch, with nobody to look after them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    same = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    processes = []
    for rank in ("0", "1"):
        own = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "here"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**same, **own}.items():
                patch.setenv(name, value)
            processes.append(start(folder, *RANKS, ENDLESS))
    wait_for(lambda: (folder / LAST).exists() or any(process.poll() is not None for process in processes))
    return processes


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "name", "code"), [(1, "SIGTERM", 143), (0, "SIGKILL", 1), (1, "SIGKILL", 1)])
def test_ranks_that_are_started_from_outside_end_together(rank: int, name: str, code: int, tmp_path: Path) -> None:
    processes = started_outside(tmp_path / "run")
    processes[rank].send_signal(signal.Signals[name])
    codes = [process.wait(WITHIN) for process in processes]
    assert codes[1 - rank] == code
    log = (tmp_path / "run.log").read_text()
    (line,) = (line for line in log.splitlines() if re.match(r"interrupted|error|(\[rank\d\]: )?Traceback", line))
    assert line.startswith("interrupted by SIGTERM, saved" if code == 143 else f"error: rank {rank} was ended")
    assert line.endswith("goes on")


def steps(folder: Path) -> list[int]:
    """The step of each epoch's validation."""
    return [int(row["step"]) for row in read_rows(folder / "metrics.csv") if row.get("val/top1")]


class Plain(nn.Sequential):
    """A network without batch statistics and dropout: what it learns of a step's images depends on no other number."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


PLAIN = (*RANKS, "student.model={_target_: tests.runs.test_ranks.Plain}")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_devices_and_the_same_batch(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the second epoch."""
    size = 128 // before
    options = (*PLAIN, f"data.batch_size={size}", sent("name: SIGTERM, within: training, batch: 0"))
    finish(tmp_path / "whole", *options, f"trainer.devices={before}")
    monkeypatch.setenv("SIGNAL", "1")
    assert start(tmp_path / "run", *options, f"trainer.devices={before}").wait(200) == 143
    monkeypatch.delenv("SIGNAL")
    finish(tmp_path / "run", *options, f"trainer.devices={after}")
    said = (tmp_path / "run.log").read_text()
    assert "saved after step 4" in said
    assert f"128 images, as before: {128 // after} on" in said
    assert steps(tmp_path / "run") == steps(tmp_path / "whole") == [2, 5, 8]
    whole, run = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "run"))
    torch.testing.assert_close(run["state_dict"], whole["state_dict"])
    finish(tmp_path / "run", *options, f"trainer.devices={before}")
