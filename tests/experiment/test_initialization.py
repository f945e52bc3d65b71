"""The training before the training, which some methods begin with."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from tests.conftest import Command, Outcome, session_folder, trained_once

PAIR = ("student.model=wrn_16_1", "teacher.model=wrn_16_1", "teacher.weights=null", "scratch=false")
SHORT = (
    *PAIR,
    "trainer.max_epochs=1",
    "initialization.epochs=2",
    "data.train_samples=128",
    "trainer.log_every_n_steps=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "test=false",
)


class PowerCut(Callback):
    """Ends the training in the second epoch of the initialisation, or at the start of the training itself."""

    def __init__(self, during: str) -> None:
        self.during = during

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        initialises = "initialization" in str(trainer.default_root_dir) or trainer.max_epochs == 2
        if self.during == ("initialization" if initialises else "training") and trainer.current_epoch == initialises:
            raise OSError("no power")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    stored = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = stored["state_dict"]
    return state


def train(command: Command, method: str, folder: str, *options: str) -> Outcome:
    outcome = command("kd-train", f"method={method}", *SHORT, f"hydra.run.dir={folder}", *options)
    assert outcome.code == 0, outcome.errors
    return outcome


def moved(run: Path, still: dict[str, torch.Tensor]) -> set[str]:
    """The layers of the student that another starting point does not have."""
    return {name.split(".")[1] for name, value in weights(run).items() if not torch.equal(value, still[name])}


@pytest.fixture(scope="module")
def factor_transfer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of factor transfer, whose paraphraser is trained beforehand."""
    return trained_once(session_folder(tmp_path_factory), "factor-transfer", "method=ft", *SHORT)


@pytest.mark.parametrize("method", ["fsp", "ab"])
def test_the_initialisation_trains_the_layers_that_its_loss_reaches(command: Command, method: str) -> None:
    """At a learning rate of 0 in the training itself, what is left is the initialisation's work."""
    outcome = train(command, method, "run", "optimizer.lr=0", "initialization.lr=0.05")
    train(command, method, "still", "optimizer.lr=0", "initialization.lr=0")
    changed = moved(outcome.folder / "run", weights(outcome.folder / "still"))
    assert {"block1", "block2"} <= changed
    assert "fc" not in changed
    assert "initialization" in outcome.output


def test_a_paraphraser_is_carried_over_and_stays_as_it_is(factor_transfer: Path) -> None:
    before = weights(factor_transfer / "initialization")
    after = weights(factor_transfer)
    paraphraser = [name for name in after if ".paraphraser." in name]
    assert paraphraser
    assert all(torch.equal(before[name], after[name]) for name in paraphraser)
    assert any(".translator." in name for name in after)
    assert not any(".translator." in name for name in before)


def test_a_teacher_alone_in_the_first_phase_leaves_the_student_as_it_is(command: Command) -> None:
    folder = train(command, "ft", "run", "optimizer.lr=0").folder / "run"
    before = weights(folder / "initialization")
    other = train(command, "ft", "other", "optimizer.lr=0", "initialization.lr=0").folder / "other"
    student = [name for name in before if name.startswith("student.")]
    assert all(torch.equal(before[name], weights(other / "initialization")[name]) for name in student)
    tracked = [before[name] for name in student if name.endswith("num_batches_tracked")]
    assert all(value == 0 for value in tracked), "not even its statistics move"


def test_its_loss_falls_and_is_recorded_apart(command: Command) -> None:
    folder = train(command, "fsp", "run", "initialization.epochs=4", "initialization.lr=0.01").folder / "run"
    rows = list(csv.DictReader((folder / "initialization" / "metrics.csv").open()))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])
    main = list(csv.DictReader((folder / "metrics.csv").open()))
    assert "train/fsp" not in main[0]


@pytest.mark.parametrize("during", ["initialization", "training"])
def test_an_interrupted_run_goes_on_where_it_stopped(
    command: Command, factor_transfer: Path, during: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kd_lightning.config.parts import initialization

    monkeypatch.setattr(initialization, "WITHOUT_VALIDATION", (*initialization.WITHOUT_VALIDATION, "power_cut"))
    crash = f"+callbacks.power_cut={{_target_: tests.experiment.test_initialization.PowerCut, during: {during}}}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", "method=ft", *SHORT, "hydra.run.dir=cut", crash)
    other = command("kd-train", "method=ft", *SHORT, "hydra.run.dir=cut", "optimizer.weight_decay=0")
    assert other.code == 2
    assert "optimizer.weight_decay=0.0005, not 0" in other.error_lines[0]
    cut = train(command, "ft", "cut").folder / "cut"
    for name, value in weights(factor_transfer).items():
        torch.testing.assert_close(weights(cut)[name], value, rtol=0, atol=0)


def test_terms_of_the_initialisation_are_checked_before_anything_is_trained(command: Command) -> None:
    outcome = command("kd-train", "method=fsp", "student.model=resnet8", "teacher.model=resnet8x4")
    assert outcome.code == 2
    assert "fsp" in outcome.error_lines[0]
    assert "channels" in outcome.error_lines[0]


def test_it_begins_the_same_whether_the_student_alone_is_found_or_trained(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "store"))
    short = ("method=ft", "initialization.epochs=1", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    curves = []
    for name in ("trained", "found"):
        outcome = command("kd-train", *short, "callbacks.progress_bar=null", f"hydra.run.dir={name}")
        assert outcome.code == 0, outcome.errors
        curves.append((outcome.folder / name / "metrics.csv").read_text())
    assert curves[0] == curves[1]
