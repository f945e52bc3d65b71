"""Paths on a command line are taken as they are, and count from where it was typed."""

import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.cli.command_line import parse, readable
from kd_lightning.errors import UserError
from kd_lightning.runs.values import quoted, unquoted
from tests.conftest import Command
from tests.sweeps.test_sweep import ALONE, FOLDER, SMALL

ODD = (
    "/a/epoch=3-step=40.ckpt",
    "T=4,seed=0/w",
    "/my files (1)/[old]",
    "it's",
    'a"b',
    "a\\",
    "a\\'b",
    "~/ü",
    "#1",
    "2026",
)


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("key", ["++data.root", "+data.root", "run", "hydra.run.dir", "++own.annotation_file"])
def test_a_path_is_taken_as_it_is(key: str, path: str) -> None:
    [override] = readable([f"{key}={path}"])
    parsed = parse(override)
    assert parsed is not None
    assert parsed.value() == path
    assert readable([override]) == [override], "what has quotes keeps them"


@pytest.mark.parametrize("path", ODD)
def test_quotes_hold_any_text(path: str) -> None:
    parsed = parse(f"key={quoted(path)}")
    assert parsed is not None
    assert parsed.value() == path


def test_quotes_are_taken_away_for_people() -> None:
    assert [unquoted(value) for value in ("'a=b'", '"a"', "a", "'a','b'", "'")] == ["a=b", "a", "a", "'a','b'", "'"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["-m", "teacher.weights=./${e}=1.ckpt,b.ckpt"], ["-m", "teacher.weights='./${e}=1.ckpt',b.ckpt"]),
        (["-m", "teacher.weights=a,b"], ["-m", "teacher.weights=a,b"]),
        (["-m", "hydra.sweep.dir=a,b"], ["-m", "hydra.sweep.dir='a,b'"]),
        (["hydra.searchpath=[file:///a=b, c]"], ["hydra.searchpath=['file:///a=b','c']"]),
        (["teacher.weights=null", "data.root=${x}/y"], ["teacher.weights=null", "data.root=${x}/y"]),
        (["a=1", "-m", "b=2", "--config-dir", "x=y", "c=3"], ["-m", "--config-dir", "x=y", "a=1", "b=2", "c=3"]),
        (["+trainer.fast_dev_run=true", "+own.dry_run=1"], ["+trainer.fast_dev_run=true", "+own.dry_run=1"]),
        (["loss=[ce,kd]", "~logger", "+x={y: 1}"], ["loss=[ce,kd]", "~logger", "+x={y: 1}"]),
    ],
)
def test_what_else_is_typed(typed: list[str], read: list[str]) -> None:
    assert readable(typed) == read


@pytest.mark.parametrize(
    ("override", "told"), [("loss=[ce,kd", "\"loss='[ce,kd'\""), ("alpha=0.5=1", "alpha=0.5=1: cannot"), ("x", "x: is")]
)
def test_what_cannot_be_read_is_named_with_a_remedy(override: str, told: str) -> None:
    with pytest.raises(UserError, match=r"KEY=VALUE|quotes") as raised:
        readable([override])
    assert told in str(raised.value)


def test_a_run_and_its_folder_with_signs_of_the_grammar(command: Command) -> None:
    first = command("kd-train", *ALONE, "hydra.run.dir=runs/T=4, lr=0.1 (1)")
    assert first.code == 0, first.errors
    folder = first.folder / "runs" / "T=4, lr=0.1 (1)"
    weights = folder / "student.safetensors"
    again = command("kd-train", *SMALL, "teacher.model=digits_cnn_4", f"teacher.weights={weights}", "hydra.run.dir=b=1")
    assert again.code == 0, again.errors
    assert OmegaConf.load("b=1/.hydra/config.yaml").teacher.weights == str(weights)  # type: ignore[union-attr]
    assert command("kd-eval", f"run={folder}").code == 0
    assert command("kd-report", str(folder)).code == 0
    missing = command("kd-train", "teacher.weights=/nowhere/epoch=3-step=40.ckpt", "teacher.weights=null")
    assert missing.code == 2, "also where a later value takes its place: it may be no path at all"
    assert missing.error_lines[0].startswith("error: teacher.weights=/nowhere/epoch=3-step=40.ckpt: no such file")


@pytest.mark.slow
def test_relative_paths_count_from_where_the_command_was_typed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own_network.py").write_text("from kd_lightning.models.zoo.digits import DigitsCNN\n")
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    own = "student.model={_target_: own_network.DigitsCNN, width: 4, num_classes: 10}"
    moved = ("hydra.job.chdir=true", *SMALL, own, "scratch=false", "paths.cache_dir=cache")
    first = command("kd-train", *moved, "hydra.run.dir=first")
    assert first.code == 0, first.errors
    assert (first.folder / "first" / "summary.json").exists()
    assert list((first.folder / "cache" / "networks").iterdir())
    second = command("kd-train", "-m", "seed=0", *moved, "student.weights=first/student.safetensors", FOLDER)
    assert second.code == 0, second.errors + second.output
    assert json.loads((second.folder / "sweep" / "sweep.json").read_text())["finished"] == 1
    refused = command("kd-train", *moved, "temperature=0", "hydra.run.dir=third")
    assert refused.code == 2
    assert not (refused.folder / "third").exists()
