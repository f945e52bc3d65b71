"""One run at a time in a folder, one folder for all ranks, and what a run says of both in a file."""

import csv
import re
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from kd_lightning.runs.folder import RUNNING
from kd_lightning.system.locks import held
from kd_lightning.terminal import is_first_in
from tests.conftest import SHORT, Command


def test_a_second_run_in_a_folder_is_refused_and_changes_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_lightning.runs.folder.ORPHANED", 0)
    Path("run").mkdir()
    with FileLock(Path("run", RUNNING)):
        outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
        assert [path.name for path in Path("run").iterdir()] == [RUNNING]
    assert outcome.code == 2
    assert outcome.output == ""
    (line,) = outcome.error_lines
    assert re.fullmatch(r"error: hydra\.run\.dir=.*/run: another process runs there; .* give another folder", line)


def test_a_run_in_a_file_says_a_line_an_epoch_and_leaves_no_lock(command: Command) -> None:
    Path("run").mkdir()
    Path("run", RUNNING).touch()  # of a run that was killed
    Path("run", f".report.html.{'0f' * 16}").touch()
    Path("run", ".mine").touch()
    outcome = command("kd-train", *SHORT[:2], "teacher=none", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    told = [line.split(maxsplit=1)[1] for line in outcome.output.splitlines() if line.startswith("epoch ")]
    assert len(told) == 2
    for epoch, line in enumerate(told, start=1):
        assert re.fullmatch(rf"{epoch}/2, step {7 * epoch}, loss \S+, val/top1 0\.\d+, val/nll \S+", line), line
    assert [path.name for path in Path("run").glob(".*") if path.is_file()] == [".mine"]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_loss_of_an_epochs_line_is_that_of_its_last_batch(command: Command, accumulated: int) -> None:
    plain = (*SHORT[:2], "teacher=none", "test=false", f"trainer.accumulate_grad_batches={accumulated}")
    outcome = command("kd-train", *plain, "hydra.run.dir=run", "trainer.log_every_n_steps=100")
    found = [float(loss) for loss in re.findall(r"^epoch .* loss ([\d.]+),", outcome.output, re.MULTILINE)]
    assert command("kd-train", *plain, "hydra.run.dir=all", "trainer.log_every_n_steps=1").code == 0
    rows = rows_of_losses(Path("all", "metrics.csv"))
    assert found == [pytest.approx(rows[epoch][-1], rel=1e-3) for epoch in ("0", "1")]


def rows_of_losses(file: Path) -> dict[str, list[float]]:
    """The logged losses of each epoch."""
    found: dict[str, list[float]] = {}
    with file.open(newline="") as table:
        for row in csv.DictReader(table):
            if row["train/loss"]:
                found.setdefault(row["epoch"], []).append(float(row["train/loss"]))
    return found


def test_what_a_kill_left_behind_a_finished_run_is_removed(command: Command, run_folder: Path) -> None:
    (run_folder / RUNNING).touch()  # it was killed once its page was written
    before = (run_folder / "summary.json").read_bytes()
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert not (run_folder / RUNNING).exists()
    assert (run_folder / "summary.json").read_bytes() == before


def test_who_waits_for_another_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    has_it = threading.Event()

    def work() -> None:
        with FileLock(tmp_path / "it.lock"):
            has_it.set()
            time.sleep(0.3)

    other = threading.Thread(target=work)
    other.start()
    has_it.wait()
    with held(tmp_path / "it.lock", "networks/it"):
        other.join(0.1)
        assert capsys.readouterr().out == "waiting        for another run, which is at work on networks/it\n"
    with held(tmp_path / "it.lock", "networks/it"):
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, False),  # torchrun on a second node
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),
        ({"SLURM_PROCID": "1", "SLURM_LOCALID": "0"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # launched by the one process of srun
    ],
)
def test_the_first_rank_is_known_by_its_launcher(environment: dict[str, str], is_first: bool) -> None:
    assert is_first_in(environment) == is_first


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "kd"},
    ],
)
def test_ranks_from_outside_need_one_folder(
    environment: dict[str, str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = command("kd-train", "trainer=ddp")
    assert outcome.code == 2
    assert [line.partition(": several ranks")[0] for line in outcome.error_lines] == ["error: hydra.run.dir"]
    assert list(outcome.folder.iterdir()) == []
