"""What the jobs of a sweep leave to those that follow in the same process: no open files, and no wrong times."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from kd_lightning.runs.run import read_run
from kd_lightning.store import RecordFile
from tests.conftest import Command

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "teacher.weights=null", "scratch=false")
OPEN: list[tuple[list[str], list[str]]] = []


class Counted(Callback):
    """Notes which files are open, and which are mapped, as a training begins; it may fail at its end."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        OPEN.append(open_files())

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.fails:
            raise RuntimeError("as it was told to")


def open_files() -> tuple[list[str], list[str]]:
    """Open and mapped, by their paths."""
    descriptors = Path("/proc/self/fd")
    opened = [os.readlink(path) for path in descriptors.iterdir() if path.is_symlink() and path.exists()]
    maps = Path("/proc/self/maps").read_text().splitlines()
    return sorted(opened), sorted(line.split(maxsplit=5)[5] for line in maps if len(line.split(maxsplit=5)) == 6)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what is open")
def test_files_are_closed_between_the_jobs_of_a_sweep(command: Command) -> None:
    OPEN.clear()
    counted = "+callbacks.counted={_target_: tests.sweeps.test_between_jobs.Counted, fails: false}"
    cached = ("teacher.cache=logits,pooled", "callbacks.counted.fails=false,true", "test=false")
    swept = command("kd-train", "-m", *QUICK, counted, *cached, "paths.cache_dir=cache", "hydra.sweep.dir=sweep")
    assert swept.output.count("as it was told to") >= 2, swept
    OPEN.append(open_files())
    here = str(swept.folder)
    opened, mapped = zip(
        *([[path for path in paths if path.startswith(here)] for paths in each] for each in OPEN), strict=True
    )
    assert len(opened[:-1]) == 4
    assert len({len(paths) for paths in opened[:-1]}) == 1, "as many in the last job as in the first"
    assert mapped == ([],) * 5
    assert not [path for path in opened[-1] if "answers.bin" in path]


def test_a_closed_file_of_records_is_opened_again_and_one_that_nobody_has_is_closed(tmp_path: Path) -> None:
    records = RecordFile(tmp_path / "file", 10, 3)
    words = torch.ones(1, 3, dtype=torch.int16)
    records.close()
    records.write(torch.tensor([4]), words)
    records.close()
    records.close()
    assert records.read(torch.tensor([4, 5]))[1].tolist() == [True, False]
    assert str(tmp_path / "file") in open_files()[0]
    del records
    assert str(tmp_path / "file") not in open_files()[0]


def test_a_clock_that_goes_back_makes_no_time_negative(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = time.time, [0]

    def going_back() -> float:
        calls[0] += 1
        return now() - 3600.0 * calls[0]

    monkeypatch.setattr(time, "time", going_back)
    swept = command("kd-train", "-m", *QUICK, "seed=0,1", "test=false", "hydra.sweep.dir=sweep")
    assert swept.code == 0, swept.errors
    assert calls[0] > 1
    assert "2/2 done" in swept.output
    for name in ("0", "1"):
        status = json.loads(Path("sweep", name, "status.json").read_text())
        assert 0 < status["ended"] - status["started"] < 600
        times = json.loads(Path("sweep", name, "summary.json").read_text())["time"]
        assert all(value >= 0 for value in times.values())


def test_times_of_a_clock_that_went_back_are_shown_as_none(tmp_path: Path) -> None:
    status = {"status": "failed", "overrides": [], "started": 2000.0, "ended": 1000.0, "error": "x", "validation": None}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert read_run(tmp_path).seconds == 0
