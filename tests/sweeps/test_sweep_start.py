"""What a sweep is before its first job: every job composed, checked, and given a folder of its own."""

import json

import pytest

from kd_lightning.runs.collections.reading import read
from tests.conftest import Command
from tests.sweeps.test_sweep import ALONE, FOLDER, SMALL


def test_jobs_in_nested_folders_are_counted_compared_and_selected(command: Command) -> None:
    nested = ("hydra.sweep.subdir='nets/${student.model}/${seed}'", FOLDER)
    sweep = ("-m", "student.model=digits_cnn_4,digits_cnn_8", "seed=0", *ALONE, *nested)
    outcome = command("kd-train", *sweep)
    assert outcome.code == 0, outcome.errors
    folder = outcome.folder / "sweep"
    record = json.loads((folder / "sweep.json").read_text())
    assert (record["jobs"], record["finished"]) == (2, 2)
    chosen = record["selected"]["overrides"]["student.model"]
    assert record["selected"]["jobs"] == [f"nets/{chosen}/0"]
    assert all(f"student.model={model}" in outcome.output for model in ("digits_cnn_4", "digits_cnn_8"))
    assert "2/2 done" in outcome.output
    assert not list(folder.rglob("report.html")), "its jobs are shown together"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("status.json")}
    assert command("kd-train", *sweep).code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("status.json")} == before, "none is run again"
    runs = read([folder])
    assert [run.status for run in runs.runs] == ["finished"] * 2
    assert runs.selected is not None
    assert len(runs.selected.runs) == 1


@pytest.mark.parametrize(
    ("subdir", "told"),
    [
        ("'${student.model}'", "would run in one folder"),
        ("'a${seed}/../a'", "would run in one folder"),
        ("../outside${seed}", "outside of hydra.sweep.dir=sweep"),
        (".", "outside of hydra.sweep.dir=sweep"),
        (f"'{'x' * 250}-${{seed}}-${{student.model}}'", "at most 255 bytes"),
    ],
)
def test_jobs_without_a_folder_of_their_own_are_refused(command: Command, subdir: str, told: str) -> None:
    outcome = command("kd-train", "-m", "seed=0,1", *ALONE, f"hydra.sweep.subdir={subdir}", FOLDER)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert "hydra.sweep.subdir=" in line
    assert told in line
    assert list(outcome.folder.iterdir()) == []


def test_hydras_own_configs_are_not_swept_over(command: Command) -> None:
    outcome = command("kd-train", "-m", "hydra/launcher=basic,joblib", "seed=0", FOLDER)
    assert outcome.code == 2
    assert "Sweeping over Hydra's configuration is not supported" in outcome.error_lines[0]


def test_a_sweeps_folder_that_differs_between_jobs_is_refused(command: Command) -> None:
    outcome = command("kd-train", "-m", "seed=0,1", *ALONE, "hydra.sweep.dir='sweep/${seed}'")
    assert outcome.code == 2
    assert "outside of hydra.sweep.dir" in outcome.error_lines[0]
    assert list(outcome.folder.iterdir()) == []


def test_a_sweep_without_jobs_is_refused(command: Command) -> None:
    outcome = command("kd-train", "-m", *SMALL, "seed=range(0,0)", "alpha=0.5,0.9", FOLDER)
    assert outcome.code == 2
    assert "seed=range(0,0) alpha=0.5,0.9: makes no job" in outcome.error_lines[0]
    assert list(outcome.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["temperature=1,abc"], "temperature=abc: must be a number above 0"),
        (["student.model=digits_cnn_4,digits_cn_4"], "student.model=digits_cn_4"),
        (["data=digits,cifa10"], "data=cifa10: no such config"),
        (["optimizer.lr=0.1,abc"], "abc"),
        (["teacher.weights=train,nowhere.pt"], "teacher.weights=nowhere.pt: no such file"),
        (["data=digits,folder", "data.root=x"], "data.root=x: data=digits has no such key"),
        (["seed=0,1", "hydra/launcher=submitit_slurm", "alpha=0.5,2"], "alpha=2"),
    ],
)
def test_a_bad_value_is_found_before_the_first_job(command: Command, arguments: list[str], told: str) -> None:
    outcome = command("kd-train", "-m", *SMALL, *arguments, FOLDER)
    assert outcome.code == 2, outcome.output
    [line] = outcome.error_lines
    assert told in line
    assert "job " in line
    assert list(outcome.folder.iterdir()) == []
