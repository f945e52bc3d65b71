"""teacher.cache in kd-train, and what kd-cache says of it."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from kd_lightning.store import RecordFile
from tests.conftest import SHORT, Command, session_folder, trained_once

QUICK = (*SHORT, "scratch=false")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that a run with teacher.cache=logits has filled."""
    session = session_folder(tmp_path_factory)
    trained_once(session, "filling", *QUICK, "teacher.cache=logits", cache="filled-cache")
    return session / "filled-cache"


@pytest.fixture
def filled(kept: Path, cache: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(kept, cache))


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("answers/*/answers.bin"))


def train_losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_runs_share_answers_and_train_as_without(command: Command, cache: Path) -> None:
    for name, option in (("off", "off"), ("filling", "logits"), ("warm", "logits"), ("prefilled", "prefill")):
        outcome = command("kd-train", *QUICK, f"teacher.cache={option}", f"hydra.run.dir={name}")
        assert outcome.code == 0, outcome.errors
    curves = {name: train_losses(outcome.folder / name) for name in ("off", "filling", "warm", "prefilled")}
    assert curves["filling"] == curves["warm"] == curves["prefilled"]
    assert curves["filling"] == pytest.approx(curves["off"], rel=2e-3)
    assert len(files(cache)) == 1


def test_prefilled_answers_are_all_that_the_training_asks_for(command: Command, cache: Path) -> None:
    first = command("kd-train", *QUICK, "teacher.cache=prefill", "hydra.run.dir=first")
    assert "answering" in first.output
    assert files(cache)
    before = {file: file.stat().st_mtime_ns for file in files(cache)}
    second = command("kd-train", *QUICK, "teacher.cache=prefill", "temperature=2", "alpha=0.5", "hydra.run.dir=second")
    assert second.code == 0
    assert "answering" not in second.output
    assert {file: file.stat().st_mtime_ns for file in files(cache)} == before


@pytest.mark.parametrize(
    "other",
    ["seed=1", "data.augment=null", "teacher.normalization={mean: [0.4], std: [0.4]}", "trainer.precision=bf16-mixed",
     "teacher.cache=pooled", "teacher.cache_bits=32", "teacher.cache_top_k=3"],
)  # fmt: skip
def test_another_teacher_or_other_inputs_have_answers_of_their_own(command: Command, filled: Path, other: str) -> None:
    outcome = command("kd-train", *QUICK, "teacher.cache=logits", other)
    assert outcome.code == 0, outcome.errors
    assert len(files(filled)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["teacher.cache=yes"], "teacher.cache=yes: must be off, logits, pooled or prefill"),
        (["teacher.cache=logits", "teacher.cache_bits=8"], "teacher.cache_bits=8: must be 16 or 32"),
        (["teacher.cache=logits", "teacher.cache_top_k=10"], "teacher.cache_top_k=10: with teacher.cache=logits"),
        (["teacher.cache=logits", "loss=[ce,attention]"], "teacher.cache=logits: keeps logits, and a term takes"),
        (
            ["teacher.cache=prefill", "trainer.max_epochs=-1", "scheduler=constant"],
            "trainer.max_epochs=-1: teacher.cache=prefill needs",
        ),
    ],
)  # fmt: skip
def test_bad_input(command: Command, options: list[str], message: str) -> None:
    outcome = command("kd-train", *options)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert outcome.error_lines[0].startswith(f"error: {message}")


def test_kd_cache_lists_verifies_and_removes(command: Command, filled: Path) -> None:
    (file,) = files(filled)
    name = file.parent.name
    listed = command("kd-cache", "ls")
    assert name in listed.output
    assert "digits_cnn_8" in listed.output
    verified = command("kd-cache", "verify")
    assert verified.code == 0
    assert verified.output.rstrip().endswith(": right")
    removed = command("kd-cache", "rm", name[:8])
    assert removed.code == 0
    assert not file.exists()
    assert list(filled.glob("networks/*/weights.safetensors"))
    assert command("kd-cache", "rm", "--all").code == 0
    assert not list(filled.glob("*/*/*"))


def test_verify_notices_an_answer_that_is_not_the_teachers(command: Command, filled: Path) -> None:
    (file,) = files(filled)
    images, views = 1797, json.loads((file.parent / "cache.json").read_text())["data"]["views"]
    records = RecordFile(file, file.stat().st_size // (2 * 12), 10)
    assert records.rows % views == 0
    assert records.rows <= images * views
    rows = records.filled()
    records.write(rows, torch.ones(len(rows), 10).half().view(torch.int16))
    verified = command("kd-cache", "verify", file.parent.name)
    assert verified.code == 1
    assert "WRONG" in verified.output


def test_what_is_lost_is_told(command: Command, cache: Path) -> None:
    trained = command("kd-train", *QUICK, "teacher.cache=logits", "teacher.cache_top_k=2")
    assert "what is kept differs from its answers by" in trained.output
    verified = command("kd-cache", "verify")
    assert verified.code == 0
    nats = re.search(r"differs from the teacher's answers by (\S+) nats", verified.output)
    assert nats is not None
    assert 0 < float(nats[1]) < 1


def test_one_that_cannot_be_verified_is_a_line_and_the_others_are_verified(command: Command, filled: Path) -> None:
    command("kd-train", *QUICK, "teacher.cache=logits", "seed=1")
    first, second = (file.parent for file in files(filled))
    seed = json.loads((first / "cache.json").read_text())["config"]["seed"]
    for network in filled.glob("networks/*/record.json"):
        if json.loads(network.read_text())["cache_key"]["seed"] == seed:
            network.unlink()
    outcome = command("kd-cache", "verify")
    assert outcome.code == 1
    lines = outcome.output.splitlines()
    reason = f"its teacher is not on this machine any more; kd-cache rm {first.name}"
    assert lines[0] == f"{first.name}: cannot be verified: {reason}"
    assert lines[1].startswith(second.name)
    assert lines[1].endswith(": right")
    assert len(lines) == 2
    assert not outcome.errors


def test_answers_that_nothing_describes_cannot_be_verified(command: Command, cache: Path) -> None:
    (cache / "answers" / "0123456789abcdef").mkdir(parents=True)
    outcome = command("kd-cache", "verify")
    assert outcome.code == 1
    assert outcome.output.startswith(
        "0123456789abcdef: cannot be verified: cache.json, which describes it, is not there; kd-cache rm 0123"
    )


def test_verify_changes_nothing(command: Command, filled: Path) -> None:
    (description,) = filled.glob("answers/*/cache.json")
    stored = json.loads(description.read_text())
    stored["config"]["teacher"]["normalization"] = {"mean": [0.4], "std": [0.4]}
    description.write_text(json.dumps(stored))
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*")}
    outcome = command("kd-cache", "verify")
    assert outcome.code == 1
    assert {path: path.stat().st_mtime_ns for path in filled.rglob("*")} == before


OWN = """
import torch
from torch import nn
from kd_lightning.data import DigitsDataModule


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, image):
        return self.layer(image.flatten(1))


class Fetched(DigitsDataModule):
    def __init__(self, download=True, **common):
        super().__init__(**common)
        self.download = download

    def prepare_data(self):
        open("fetched", "a").close()

    def read(self):
        assert not self.download or open("fetched")
        return super().read()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, which further commands find as new processes do."""
    (tmp_path / "mine_to_verify.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return "mine_to_verify"


def forget(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, own)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(Path.cwd())])


def test_verify_finds_the_users_own_classes(
    command: Command, cache: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"teacher.model={{_target_: {own}.Network}}"
    trained = command("kd-train", *QUICK, "teacher.cache=logits", model)
    assert trained.code == 0, trained.errors
    forget(own, monkeypatch)
    outcome = command("kd-cache", "verify")
    assert outcome.output.rstrip().endswith(": right")
    assert outcome.code == 0


def test_verify_downloads_nothing(command: Command, cache: Path, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("teacher.cache=logits", f"data._target_={own}.Fetched", "+data.download=true")
    trained = command("kd-train", *QUICK, *options)
    assert trained.code == 0, trained.errors
    fetched = Path("fetched")
    fetched.unlink()
    assert command("kd-cache", "verify").code == 0
    assert not fetched.exists()


def test_relative_paths_are_those_of_the_run(command: Command, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (weights,) = filled.glob("networks/*/weights.safetensors")
    shutil.rmtree(filled / "answers")
    shutil.copy(weights, "file.safetensors")
    trained = command("kd-train", *QUICK, "teacher.cache=logits", "teacher.weights=file.safetensors")
    assert trained.code == 0, trained.errors
    elsewhere = Path("elsewhere")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    outcome = command("kd-cache", "verify")
    assert outcome.output.rstrip().endswith(": right")
    assert Path.cwd().name == "elsewhere"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rm"], "kd-cache rm: give names"),
        (["rm", "nothing"], "nothing: nothing in"),
        (["verify", "x"], "x: nothing"),
        ([], "kd-cache: the following arguments are required: ls|rm|verify"),
        (["list"], "kd-cache: argument ls|rm|verify: invalid choice: 'list'"),
        (["ls", "here"], "kd-cache: unrecognized arguments: here"),
    ],
)
def test_names_that_do_not_exist(command: Command, arguments: list[str], message: str) -> None:
    outcome = command("kd-cache", *arguments)
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith(f"error: {message}")
