"""One step of each training is tried before the first of them, and leaves no trace."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.data import Sources
from kd_lightning.experiment import comparison
from kd_lightning.experiment.checks import rehearsal
from kd_lightning.experiment.checks.config import check
from kd_lightning.experiment.checks.rehearsal import rehearse
from kd_lightning.models.zoo.digits import DigitsCNN
from kd_lightning.objective import Objective
from tests.cli.test_bad_input import assert_refused
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.test_own_classes import Stripes
from tests.experiment.test_train import summary

SHORT = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "callbacks.progress_bar=null",
    "trainer.accelerator=cpu",
)
HERE = "tests.experiment.test_rehearsal"


@pytest.fixture(autouse=True)
def _own_cache(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))


class Linear(nn.Module):
    """Something small, to be spoilt."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits


class FailsInTraining(Linear):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise ArithmeticError("not while it trains")
        return super().forward(images)


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise ArithmeticError("no way back")


class FailsBackward(Linear):
    def forward(self, images: Tensor) -> Tensor:
        value: Tensor = NoGradient.apply(super().forward(images))
        return value


class LossThatFails(nn.Module):
    """On real signals alone: the check of shapes sees none that need gradients."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.requires_grad:
            raise ArithmeticError("not with these logits")
        return logits.mean()


class FailsOnManyAtOnce(Linear):
    """Where the test set's larger batches come."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training and len(images) > 70:
            raise ArithmeticError("not so many at once")
        return super().forward(images)


class Unreadable(Stripes):
    def read(self) -> Sources:
        raise ArithmeticError("no images here")


class FailsInItsSecondEpoch(Callback):
    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1:
            raise ArithmeticError("an epoch later")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val_loss"],
            ["early_stopping.monitor=val_loss", "val/nll"],
        ),
        (
            ["callbacks=early_stopping", "trainer.max_steps=1"],
            ["callbacks.early_stopping.monitor=val/top1", "train/loss"],
        ),
        (["callbacks.checkpoint_best.monitor=val/acc"], ["callbacks.checkpoint_best.monitor=val/acc", "val/top1"]),
        (["+trainer.val_check_interval=1000"], ["trainer.val_check_interval=1000", "2 batches"]),
        (["trainer.limit_train_batches=0.01"], ["trainer.limit_train_batches=0.01", "none of 7 batches"]),
        (["trainer.limit_test_batches=0"], ["trainer.limit_test_batches=0"]),
        (
            ["+callbacks.find={_target_: lightning.pytorch.callbacks.LearningRateFinder}"],
            ["callbacks.find=LearningRateFinder", "optimizer.lr"],
        ),
        (["trainer.accumulate_grad_batches=0"], ["trainer.accumulate_grad_batches=0"]),
        ([f"student.model={{_target_: {HERE}.FailsInTraining}}"], ["student.model", "not while it trains"]),
        ([f"student.model={{_target_: {HERE}.FailsBackward}}"], ["student.model", "no way back"]),
        ([f"teacher.model={{_target_: {HERE}.FailsInTraining}}"], ["teacher.model", "not while it trains"]),
        (
            [f"student.model={{_target_: {HERE}.FailsOnManyAtOnce}}", "trainer.limit_val_batches=0"],
            ["student.model", "so many"],
        ),
        (
            ["~loss.ce.loss", f"+loss.ce.loss={{_target_: {HERE}.LossThatFails}}"],
            ["loss.ce.loss", "not with these logits"],
        ),
        (
            ["~scheduler", "+scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, _partial_: true}"],
            ["scheduler", "ReduceLROnPlateau"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_fails_in_a_step_is_refused_before_anything_is_trained(
    command: Command, overrides: list[str], words: list[str]
) -> None:
    outcome = command("kd-train", *SHORT, *overrides)
    assert_refused(outcome, *words)
    assert not list((outcome.folder / "cache").glob("networks/*/")), "the teacher would have been the first"


def test_data_of_ones_own_that_cannot_be_read_are_refused(command: Command) -> None:
    data = f"+data={{_target_: {HERE}.Unreadable, batch_size: 16, val_fraction: 0.25, seed: 0}}"
    assert_refused(command("kd-train", *SHORT, "~data", data), f"data._target_={HERE}.Unreadable", "no images here")


def test_what_fails_later_is_no_bad_input(command: Command) -> None:
    with pytest.raises(ArithmeticError, match="an epoch later"):
        command(
            *("kd-train", *SHORT, "teacher=none", "trainer.max_epochs=2", "teacher.model=null"),
            f"+callbacks.own={{_target_: {HERE}.FailsInItsSecondEpoch}}",
        )


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_strategies_whose_processes_bring_nothing_back_are_refused(command: Command, strategy: str) -> None:
    outcome = command("kd-train", "trainer=ddp", f"trainer.strategy={strategy}", "trainer.accelerator=cpu")
    assert_refused(outcome, f"trainer.strategy={strategy}", "use ddp")


def test_batch_normalisation_is_not_synchronised_on_a_cpu(command: Command) -> None:
    outcome = command("kd-train", "trainer=ddp", "+trainer.sync_batchnorm=true", "trainer.accelerator=cpu")
    assert_refused(outcome, "trainer.sync_batchnorm=true", "GPU")


@pytest.mark.parametrize(
    "without",
    [["logger.csv=null"], ["~logger"], ["~scheduler"], ["callbacks=[]"]],
    ids=str,
)
def test_a_run_can_do_without_a_group(command: Command, without: list[str]) -> None:
    given = [argument for argument in SHORT if not (argument.startswith("callbacks") and "callbacks" in without[0])]
    outcome = command("kd-train", *given, "teacher=none", "teacher.model=null", *without)
    assert outcome.code == 0, outcome.errors
    assert (outcome.run / "report.html").exists()


@pytest.mark.parametrize("group", ["data", "student", "teacher", "optimizer", "trainer", "paths"])
def test_a_run_needs_the_other_groups(command: Command, group: str) -> None:
    for change in (f"~{group}", f"{group}=null"):
        assert_refused(command("kd-train", change), group)


def test_it_leaves_the_random_state_and_the_data_as_they_were(tmp_path: Path) -> None:
    config = composed(*SHORT, "method=crd", "loss.crd.loss.negatives=8", f"paths.cache_dir={tmp_path / 'cache'}")
    config.paths.output_dir = str(tmp_path / "run")
    experiment = check(config)
    data = experiment.data
    data.setup()
    attributes = {**vars(data), "streams": data.streams}
    states = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]
    rehearse(experiment, tmp_path / "run")
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()
    assert vars(data) == attributes
    assert not list(tmp_path.rglob("*.*"))


def test_a_run_is_the_same_with_and_without_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = (*SHORT, "scratch=false", "teacher.model=digits_cnn_4", "method=crd", "loss.crd.loss.negatives=8")
    command("kd-train", *options, "hydra.run.dir=rehearsed")
    monkeypatch.setattr(comparison, "rehearse", lambda *_: None)
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "another"))
    command("kd-train", *options, "hydra.run.dir=not")
    one, other = (load_file(tmp_path / run / "student.safetensors") for run in ("rehearsed", "not"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    teachers = [summary(tmp_path / run)["teacher"]["nll"] for run in ("rehearsed", "not")]
    assert teachers[0] == teachers[1]


def test_a_finished_run_is_not_rehearsed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("kd-train", *SHORT, "teacher=none", "teacher.model=null", "hydra.run.dir=run")
    assert command(*options).code == 0
    monkeypatch.setattr(rehearsal.Rehearsal, "attempt", lambda *_: pytest.fail("rehearsed"))
    folder = command(*options).folder / "run"
    for name in ("summary.json", "metrics.csv"):
        (folder / name).unlink()
    outcome = command(*options)
    assert outcome.code == 0, "nor one that is taken up again"
    assert "resuming" in outcome.output


@pytest.mark.parametrize("teacher", ["digits_cnn_8", "ensemble"])
def test_a_network_is_made_to_be_checked_to_be_rehearsed_and_to_be_trained(
    teacher: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, and so is the objective of each training; the student alone is not checked, for it is the student."""
    made: Counter[tuple[str, bool]] = Counter()

    def counted(kind: type[nn.Module], is_there: Callable[[nn.Module], bool]) -> None:
        begin = kind.__init__

        def init(self: nn.Module, *arguments: Any, **options: Any) -> None:
            begin(self, *arguments, **options)
            made[kind.__name__, is_there(self)] += 1

        monkeypatch.setattr(kind, "__init__", init)

    counted(DigitsCNN, lambda network: next(network.parameters()).device.type != "meta")
    counted(Objective, lambda _: True)
    several = ("teacher=ensemble", "teacher.models=[digits_cnn_8,digits_cnn_16]")
    outcome = command("kd-train", *SHORT, *(several if teacher == "ensemble" else [f"teacher.model={teacher}"]))
    assert outcome.code == 0, outcome.errors
    learned_from = 2 if teacher == "ensemble" else 1
    trainings = learned_from + 2
    assert made == {
        ("DigitsCNN", False): learned_from + 1,
        ("DigitsCNN", True): 2 * trainings,
        ("Objective", True): 1 + 2 * trainings + (learned_from > 1),  # a mean of networks is measured by itself
    }
