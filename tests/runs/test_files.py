"""A run's files by name, and those that several processes write at once."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kd_lightning.runs import files
from kd_lightning.runs.arrays import read_arrays, write_arrays
from kd_lightning.system.files import replacing, write_json


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(50):
            write_json(tmp_path / "record.json", {"numbers": [number] * 1000})
            write_arrays(tmp_path / "arrays.npz", {"numbers": np.full(1000, number)})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len({*json.loads((tmp_path / "record.json").read_text())["numbers"]}) == 1
    assert len({*read_arrays(tmp_path / "arrays.npz")["numbers"].tolist()}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "record.json"]


def test_what_a_killed_process_was_writing_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    path, of_another = tmp_path / "record.json", tmp_path / f".record.json.table.{'0f' * 16}"
    (tmp_path / f".record.json.{'0f' * 16}").write_text("{")  # no process has it open
    of_another.touch()  # of record.json.table
    with replacing(path) as temporary:
        write_json(path, {"by": "another"})
        assert temporary.exists()
        temporary.write_text("{}")
    assert path.read_text() == "{}"
    assert sorted(tmp_path.iterdir()) == [of_another, path]


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path: Path) -> None:
    write_json(tmp_path / "record.json", {"student": {"nll": math.nan, "top1": 0.5}, "all": [math.inf, 1.0]})
    record = json.loads((tmp_path / "record.json").read_text())
    assert record == {"student": {"nll": None, "top1": 0.5}, "all": [None, 1.0]}


def test_a_run_has_the_files_that_are_named(finished: Path, sweep: Path) -> None:
    """Every name is one of a file that there is, but of what only other runs have, or only while they run."""
    names = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
    elsewhere = {*(files.BEFORE, files.FIGURES, files.INITIALIZATION, files.RUNNING, files.LOCK)}
    elsewhere |= {
        files.WANDB,
        files.TENSORBOARD,
        files.RUN_OF_WANDB,
        files.PROBES,
        files.CURRICULUM,
        files.EXPORTS,
        files.CARD,
    }
    there = {path.relative_to(root).as_posix() for root in (finished, sweep, sweep / "0") for path in root.rglob("*")}
    assert names - elsewhere <= there | {Path(path).name for path in there}
    assert {files.checkpoint("best"), files.weights_of("student")} <= there
