"""What the system says of paths is one line in every command: of names too long, of folders gone or shut."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_lightning.config.refusals.os_errors import refusal
from kd_lightning.errors import UserError
from tests.conftest import Command, Outcome

LONG = "n" * 300
QUICK = ("teacher.weights=null", "scratch=false", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false")


def assert_one_line(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    assert len(outcome.error_lines) == 1, outcome.errors
    assert "Traceback" not in outcome.errors
    assert all(word in outcome.error_lines[0] for word in words), outcome.error_lines[0]


@pytest.mark.parametrize(
    ("command_line", "named"),
    [
        (["kd-train", f"hydra.run.dir={LONG}"], "hydra.run.dir=nnn"),
        (["kd-train", f"hydra.run.dir=a/{LONG}/b"], "hydra.run.dir=a/nnn"),
        (["kd-train", f"student.weights={LONG}.pth"], "student.weights=nnn"),
        (["kd-train", f"teacher.weights=~/{LONG}"], "teacher.weights=~/nnn"),
        (["kd-train", "data=folder", f"data.root={LONG}"], "data.root="),
        (["kd-train", f"paths.cache_dir={LONG}", "trainer.max_epochs=1"], "paths.cache_dir="),
        (["kd-train", f"experiment={LONG}"], "experiment=nnn"),
        (["kd-train", f"paths.runs={LONG}"], "File name too long"),
        (["kd-train", "-m", "seed=0,1", f"hydra.sweep.dir={LONG}"], "hydra.sweep.dir=nnn"),
        (["kd-eval", f"run={LONG}"], "run=nnn"),
        (["kd-report", LONG], "nnn"),
        (["kd-cache", "--dir", LONG, "ls"], "nnn"),
        (["kd-cache", "--dir", LONG, "rm", "a"], "nnn"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else value,
)
def test_a_name_that_is_too_long_is_named_by_its_key(command_line: list[str], named: str, command: Command) -> None:
    outcome = command(*command_line)
    assert_one_line(outcome, named)
    assert any(why in outcome.error_lines[0] for why in ("too long", "no such config", "no such file"))
    assert not list(outcome.folder.rglob("summary.json"))


def test_folders_of_jobs_named_by_long_overrides_are_refused(command: Command) -> None:
    model = "student.model={_target_: torch.nn.Linear, in_features: 64, out_features: 10}"
    long = f"loss.kd.signals=[{','.join(['student.logits'] * 20)}]"
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    outcome = command("kd-train", "-m", *QUICK, model, long, "seed=0,1", subdir)
    assert_one_line(outcome, "hydra.sweep.subdir=", "at most 255 bytes")


def test_a_file_where_a_folder_has_to_be(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command_line in (["kd-train", "hydra.run.dir=file/x"], ["kd-report", "file"], ["kd-eval", "run=file"]):
        assert_one_line(command(*command_line), "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(command: Command, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    assert_one_line(command("kd-report", "shut"), "shut", "Permission denied")
    assert_one_line(command("kd-train", "hydra.run.dir=shut/x"), "hydra.run.dir=shut/x", "Permission denied")


def test_what_concerns_no_path_is_no_refusal() -> None:
    assert refusal(OSError(errno.ECONNREFUSED, "refused"), []) is None
    assert refusal(OSError("without a number"), ["a=b"]) is None
    assert refusal(FileNotFoundError(errno.ENOENT, "none"), []) is None


def test_the_longest_argument_that_a_path_has_in_it_gave_it() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/data/pets/train/cat")
    told = refusal(error, ["seed=0", "+data.root='/data/pets'", "paths.runs=/data", "-m"])
    assert isinstance(told, UserError)
    assert str(told).startswith("data.root=/data/pets: Permission denied; ")
    assert told.__cause__ is error


REMOVED = """
import os, runpy, sys
os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
runpy.run_module("kd_lightning.commands." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("train", []),
        ("train", ["-m", "seed=0,1"]),
        ("evaluate", ["run=/tmp"]),
        ("inspect", ["student.model=resnet8"]),
        ("report", ["/tmp"]),
        ("cache", ["ls"]),
    ],
)
def test_a_current_folder_that_was_removed_is_told(name: str, arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    told = subprocess.run(
        [sys.executable, "-c", REMOVED, name, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2, told.stderr
    assert told.stderr == "error: the current folder does not exist any more; cd into one that does\n"


def test_damaged_records_of_the_cache_are_listed(command: Command, tmp_path: Path) -> None:
    for name, text in (("torn", '{"cache_key": {'), ("other", "[]"), ("empty", "{}")):
        (tmp_path / "c" / "networks" / name).mkdir(parents=True)
        (tmp_path / "c" / "networks" / name / "record.json").write_text(text)
    listed = command("kd-cache", "--dir", "c", "ls")
    assert listed.code == 0
    assert listed.output.count("damaged") == 3
