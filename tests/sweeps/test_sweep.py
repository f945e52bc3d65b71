"""Multiruns as a user starts them: isolated, taken up again, selected on validation data."""

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.losses import SoftTarget
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.planned import Planned
from kd_lightning.runs.run import Run, split
from kd_lightning.runs.status import FAILED, FINISHED, RUNNING, Status
from kd_lightning.sweeps.end import mean_text
from kd_lightning.sweeps.guard import claim, job_lock
from kd_lightning.sweeps.plan import Plan
from kd_lightning.sweeps.progress import duration, progress_line
from kd_lightning.sweeps.selection import by_configuration, select
from kd_lightning.tasks import Classification
from tests.conftest import Command

SMALL = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "teacher.model=digits_cnn_8")
ALONE = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "teacher=none")
FOLDER = "hydra.sweep.dir=sweep"
PAIRS = (("0.2", "0", "1"), ("0.8", "2", "3"))  # alpha, and the jobs of two seeds


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def stamps(folder: Path) -> dict[str, int]:
    files = [path for path in folder.glob("*/*") if path.is_file() and path.name != "log.txt"]
    return {str(path): path.stat().st_mtime_ns for path in files}


class Broken(nn.Module):
    """A loss that raises what no loss should."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

    def forward(self, student: Tensor, target: Tensor) -> Tensor:
        raise KeyError("no such thing")


class FailsAtHalf(SoftTarget):
    """Soft targets that fail in the jobs of one alpha."""

    def __init__(self, alpha: float, temperature: float) -> None:
        super().__init__(temperature)
        self.alpha = alpha

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.alpha == 0.5:
            raise KeyError("no such thing")
        return super().forward(student, teacher)


class Interrupted(Callback):
    """Ctrl-C in the second epoch, where the environment says so."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1 and "INTERRUPT" in os.environ:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_one_configuration_is_selected_on_validation_data_and_tested(command: Command) -> None:
    failing = ("loss.kd.loss={_target_: tests.sweeps.test_sweep.FailsAtHalf, alpha: '${alpha}', temperature: 4}",)
    sweep = ("-m", "alpha=0.2,0.8,0.5", "seed=0,1", *failing, *SMALL, FOLDER)
    first = command("kd-train", *sweep)
    assert first.code == 1, first.errors
    assert "distilled student" not in first.output, "jobs show no tables"
    folder = first.folder / "sweep"
    states = {str(i): read(folder / str(i) / "status.json") for i in range(6)}
    assert [state["status"] for state in states.values()] == ["finished"] * 4 + ["failed"] * 2
    assert "no such thing" in states["4"]["error"]
    assert "job 4 (alpha=0.5 seed=0) failed: " in first.output
    assert "Traceback" in (folder / "4" / "log.txt").read_text()
    assert "4/6 done, 0 running, 2 failed, best" in first.output
    means = {alpha: (states[i]["validation"] + states[j]["validation"]) / 2 for alpha, i, j in PAIRS}
    best = max(means, key=lambda alpha: means[alpha])
    record = read(folder / "sweep.json")
    selected = next(jobs for alpha, *jobs in PAIRS if alpha == best)
    assert record == {
        "selected": {"overrides": {"alpha": best}, "jobs": selected, "validation": pytest.approx(means[best])},
        "jobs": 6,
        "finished": 4,
        "failed": 2,
    }
    for name in ("0", "1", "2", "3"):
        summary = read(folder / name / "summary.json")
        assert summary["teacher"]["top1"] is not None
        assert summary["student"]["top1_validation"] == pytest.approx(states[name]["validation"])
        tested = {summary["student"][metric] is not None for metric in ("top1", "nll", "agreement")}
        assert tested == {name in selected}, "the test set is read for the selected configuration alone"
        assert summary["data"]["tested"] == (name in selected)
    before = stamps(folder)
    again = command("kd-train", *sweep)
    assert again.code == 1
    after = stamps(folder)
    failed = {str(folder / name / "status.json") for name in ("4", "5")}
    assert {path for path in before if before[path] != after[path]} == failed
    assert read(folder / "sweep.json") == record


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_where_it_stopped(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = "+callbacks.cut={_target_: tests.sweeps.test_sweep.Interrupted}"
    broken = "loss.ce.loss._target_=kd_lightning.losses.CrossEntropy,tests.sweeps.test_sweep.Broken"
    sweep = ("-m", broken, "seed=3", *ALONE, "trainer.max_epochs=2", cut, FOLDER)
    monkeypatch.setenv("INTERRUPT", "1")
    stopped = command("kd-train", *sweep)
    folder = stopped.folder / "sweep"
    assert stopped.code == 1
    assert not (folder / "1").exists()
    assert read(folder / "0" / "status.json")["status"] == "running"
    assert "sweep stopped: 0 of 2 jobs have finished; the same command with hydra.sweep.dir=sweep" in stopped.output
    monkeypatch.delenv("INTERRUPT")
    resumed = command("kd-train", *sweep)
    assert resumed.code == 1, resumed.errors
    assert "resuming" in (folder / "0" / "log.txt").read_text()
    assert read(folder / "0" / "status.json")["status"] == "finished"
    failed = read(folder / "1" / "status.json")
    assert failed["status"] == "failed"
    assert "KeyError: 'no such thing'" in failed["error"]
    before = stamps(folder)
    other = command("kd-train", *sweep, "alpha=0.5")
    assert other.code == 2
    assert len(other.error_lines) == 1
    assert "hydra.sweep.dir=sweep: holds the sweep" in other.error_lines[0]
    assert stamps(folder) == before


def test_a_second_process_changes_nothing_in_a_sweeps_folder(command: Command) -> None:
    Path("sweep").mkdir()
    with claim(Path("sweep")):
        outcome = command("kd-train", "-m", "seed=0,1", FOLDER)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "hydra.sweep.dir=sweep: another process runs a sweep there" in outcome.error_lines[0]
    assert [path.name for path in outcome.folder.glob("sweep/*") if path.name != ".lock"] == []


def test_a_job_that_outlived_its_sweep_is_waited_for(command: Command) -> None:
    sweep = ("-m", "seed=0", *ALONE, FOLDER)
    folder = command("kd-train", *sweep).folder / "sweep" / "0"
    finished = (folder / "status.json").read_text()
    Status(RUNNING, read(folder / "status.json")["overrides"], started=0.0).write(folder)
    works = threading.Event()

    def job_of_another_process() -> None:
        with FileLock(job_lock(folder)):
            works.set()
            time.sleep(3)
            (folder / "status.json").write_text(finished)

    threading.Thread(target=job_of_another_process).start()
    works.wait()
    assert command("kd-train", *sweep).code == 0
    assert (folder / "status.json").read_text() == finished, "it was not run again"


def test_a_folder_that_cannot_be_made_is_one_line(command: Command) -> None:
    Path("file").touch()
    outcome = command("kd-train", "-m", "seed=0,1", "hydra.sweep.dir=file/sweep")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "hydra.sweep.dir=file/sweep: cannot be written" in outcome.error_lines[0]


@pytest.mark.parametrize("seed", ["seed", "++seed"])
def test_a_configuration_is_all_but_the_seed(seed: str) -> None:
    assert Plan(Path("sweep"), Planned(), swept=("alpha", seed)).compared == ("alpha",)
    jobs = {str(number): job(FINISHED, "alpha=0.1", f"{seed}={number}", validation=0.5) for number in range(2)}
    (found,) = by_configuration(jobs, replace(PLAN, swept=("alpha", seed)))
    assert found.seeds == ["0", "1"]
    runs = [Run(Path(name), name, FINISHED, split(status.overrides)) for name, status in jobs.items()]
    (same,) = Collection("sweep", runs, is_sweep=True).configurations
    assert (same.seeds, [run.name for run in same.runs]) == (found.seeds, [one.name for one in found.runs])


def test_without_validation_data_every_job_is_tested_and_none_selected(command: Command) -> None:
    outcome = command("kd-train", "-m", "optimizer.lr=0.05,0.1", *ALONE, "data.val_fraction=0", FOLDER)
    assert outcome.code == 0, outcome.errors
    folder = outcome.folder / "sweep"
    assert read(folder / "sweep.json") == {"selected": None, "jobs": 2, "finished": 2, "failed": 0}
    assert all(read(folder / name / "summary.json")["student"]["top1"] is not None for name in ("0", "1"))
    assert "kd-report sweep" in outcome.output


def test_a_job_computes_what_a_single_run_does(command: Command) -> None:
    folder = command("kd-train", "-m", "seed=0,1", *ALONE).folder
    command("kd-train", "seed=1", *ALONE, "hydra.run.dir=single")
    [job] = folder.glob("multirun/*/*/1/student.safetensors")
    single = load_file(folder / "single" / "student.safetensors")
    assert all(torch.equal(weights, single[name]) for name, weights in load_file(job).items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("studnet.model=resnet8x4", "seed=0,1"), "studnet"),
        (("student=default,none_such",), "student=none_such: no such config"),
        (("temperature=interval(1,2)",), "does not support sweep type"),
        (("seed=0,1", "--cfg", "job"), "--cfg: shows the config of one run"),
    ],
)
def test_bad_input_of_a_whole_sweep_ends_it_before_it_begins(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    outcome = command("kd-train", "-m", *arguments)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert message in outcome.error_lines[0]
    assert list(outcome.folder.iterdir()) == []


@pytest.mark.slow
def test_a_job_of_several_ranks_runs_once_in_its_own_folder(command: Command) -> None:
    own = Path("own/trainer/two.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("defaults: [ddp, _self_]\ndevices: 2\naccelerator: cpu\n")
    own_config = ("--config-dir", "own", "trainer=two", "data.val_fraction=0")
    losses = "loss.kd.loss._target_=tests.sweeps.test_sweep.Broken,kd_lightning.losses.SoftTarget"
    outcome = command("kd-train", "-m", *own_config, losses, *SMALL, FOLDER)
    assert outcome.code == 1, outcome.errors
    folder = outcome.folder / "sweep"
    assert sorted(path.name for path in outcome.folder.iterdir()) == ["own", "sweep"], "no rank began another sweep"
    log = (folder / "1" / "log.txt").read_text()
    assert "MEMBER: 2/2" in log
    assert log.count("student        digits_cnn_4") == 1
    states = [read(folder / name / "status.json") for name in ("0", "1")]
    assert [state["status"] for state in states] == ["failed", "finished"]
    assert states[0]["error"]
    summary, arrays = read(folder / "1" / "summary.json"), np.load(folder / "1" / "evaluation.npz")
    for role in ("teacher", "scratch", "student"):
        true, predicted, images = arrays[f"{role}_confusions"].T
        assert images.sum() == summary["data"]["images"]["test"], "the ranks together test each image once"
        assert images[true == predicted].sum() / images.sum() == pytest.approx(summary[role]["top1"])


TOP1 = Classification(10).selects_on


def job(status: str, *overrides: str, validation: float | None = None) -> Status:
    column = TOP1 if status == FINISHED else None
    return Status(status, list(overrides), started=0.0, validation=validation, column=column)


PLAN = Plan(Path("sweep"), Planned([["alpha=0.1"]] * 6), swept=("alpha", "seed"))
JOBS = {
    "0": job(FINISHED, "alpha=0.1", "seed=0", validation=0.90),
    "1": job(FINISHED, "alpha=0.1", "seed=1", validation=0.94),
    "2": job(FINISHED, "alpha=0.5", "seed=0", validation=0.99),
    "3": job(FAILED, "alpha=0.5", "seed=1"),
    "4": job(RUNNING, "alpha=0.9", "seed=0"),
}


def test_the_line_of_progress() -> None:
    line = progress_line(JOBS, PLAN, elapsed_s=240.0, ended_since=4)
    assert line == "sweep  3/6 done, 1 running, 1 failed, best 99.00 % (alpha=0.5), 2 min left"
    assert progress_line({}, PLAN, elapsed_s=1.0, ended_since=0) == "sweep  0/6 done, 0 running"
    assert [duration(seconds) for seconds in (10, 200, 4 * 3600)] == ["under 1 min", "3 min", "4 h"]


def test_a_configuration_whose_seeds_failed_is_chosen_last() -> None:
    selected = select(by_configuration(JOBS, PLAN))
    assert selected is not None
    assert selected.choices == {"alpha": "0.1"}
    assert mean_text(selected.values(lambda job: job.validation), TOP1) == "92.00 ± 2.83"
    selected = select(by_configuration({name: JOBS[name] for name in ("2", "3")}, PLAN))
    assert selected is not None
    assert selected.finished == ["2"]
    assert select(by_configuration({"4": JOBS["4"]}, PLAN)) is None
