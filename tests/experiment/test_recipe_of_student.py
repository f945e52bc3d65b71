"""What the distilled student's training has of its own, which its teacher's and the student's alone have not."""

import csv
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from kd_lightning.config.parts.initialization import as_training
from kd_lightning.config.parts.recipe import recipe_of
from kd_lightning.config.resolvers import times
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.training.kept import cache_key
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.steps import trained_alone

SMALL = ("student.model=digits_cnn_4", "teacher.model=digits_cnn_8", "callbacks.progress_bar=null")
SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.log_every_n_steps=1")
OWN = ("student.optimizer={lr: 0.004}", "student.trainer={max_epochs: 2}", "scheduler=constant")


def rates(metrics: Path) -> tuple[set[float], int]:
    """The learning rates of a training, and its epochs."""
    rows = list(csv.DictReader(metrics.open()))
    (rate,) = (name for name in rows[0] if name.startswith("lr-"))
    epochs = {row["epoch"] for row in rows if row["train/loss"]}
    return {float(row[rate]) for row in rows if row[rate]}, len(epochs)


def test_the_distilled_student_alone_is_trained_by_it(command: Command) -> None:
    arguments = (*SMALL, *SHORT, "callbacks=[default,learning_rate]", "optimizer.lr=0.03", "seed=29")
    outcome = command("kd-train", *arguments, *OWN, "hydra.run.dir=own")
    assert outcome.code == 0, outcome.errors
    run = outcome.folder / "own"
    assert rates(run / "metrics.csv") == ({0.004}, 2)
    assert rates(run / "teacher" / "metrics.csv") == ({0.03}, 1)
    assert rates(run / "scratch" / "metrics.csv") == ({0.03}, 1)
    again = command("kd-train", *arguments, "scheduler=constant", "hydra.run.dir=shared")
    assert again.output.count("found") == 2, "both are those of the run before"
    assert rates(again.folder / "shared" / "metrics.csv") == ({0.03}, 1)
    assert command("kd-eval", "run=own").code == 0
    other = command("kd-train", *arguments, *OWN[1:], "student.optimizer={lr: 0.005}", "hydra.run.dir=own")
    assert other.code == 2
    assert "student.optimizer.lr=0.004" in other.error_lines[0]
    assert json.loads((run / "summary.json").read_text())["student"]["model"] == "digits_cnn_4"


def fingerprint(*overrides: str) -> tuple[dict[str, object], dict[str, object]]:
    config = composed(*overrides)
    experiment = check(config)
    context = experiment.parts.context
    teacher, student = (cache_key(training, context) for training in trained_alone(experiment))
    return teacher, student


def test_what_is_trained_once_does_not_depend_on_it() -> None:
    plain = fingerprint("student.model=digits_cnn_4")
    assert fingerprint("student.model=digits_cnn_4", *OWN[:2], "student.scheduler={warmup: 0.1}") == plain
    assert fingerprint("student.model=digits_cnn_4", "optimizer.lr=0.004") != plain


def test_it_is_laid_over_the_runs_and_nothing_else_changes() -> None:
    own = "student.trainer={max_epochs: 2, gradient_clip_val: 1, barebones: false}"  # the last of them is new
    config = composed(OWN[0], own)
    before, changed = OmegaConf.to_container(config), recipe_of("student", config)
    assert OmegaConf.to_container(config) == before
    assert (changed.optimizer.lr, changed.optimizer.momentum) == (0.004, config.optimizer.momentum)
    assert (changed.trainer.max_epochs, changed.trainer.gradient_clip_val) == (2, 1)
    assert changed.scheduler == config.scheduler
    assert recipe_of("student", changed) is changed
    assert recipe_of("student", composed()) == composed()


def test_the_training_before_the_training_keeps_its_own() -> None:
    config = composed("method=ab", *OWN, "optimizer.lr=0.03")
    first = recipe_of("student", as_training(config))
    assert (first.optimizer.lr, first.trainer.max_epochs, first.scheduler) == (0.03, 30, None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.optimizer=3", "student.optimizer=3: what differs"),
        ("+student.loss={}", "student.loss={}: .* has no such argument"),
        ("student.optimizer={lr: -1}", r"student\.optimizer\.lr=-1: .*learning rate"),
        ("student.scheduler={milestones: [0.5]}", r"student\..*milestones"),
        ("student.trainer={max_epochs: 0}", r"student\.trainer\.max_epochs=0: nothing to train"),
        ("student.trainer={precision: 8}", r"student\.trainer\.precision=8"),
        ("student.trainer={devices: 4096}", r"student\.trainer\.devices=4096"),
    ],
)
def test_bad_values_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(composed(override, "trainer.accelerator=cpu"))


def test_how_many_times() -> None:
    assert times(0.5, 0.05) == 0.025
    assert times(4, 240) == 960
    assert isinstance(times(0.5, 3), int)
    assert times(0.5, [0.625, 0.75]) == [0.3125, 0.375]
    assert [times(2, value) for value in (-1, 0, None, True)] == [-1, 0, None, True]


def test_a_short_trial_of_a_long_recipe_is_short() -> None:
    """The method says how many times as long, so that a length given on the command line counts."""
    pair = ("experiment=cifar100/resnet32x4_ShuffleV2", "method=mlkd", "data.root=somewhere")
    assert recipe_of("student", composed(*pair, "trainer.max_epochs=2")).trainer.max_epochs == 8
    assert (
        recipe_of("student", composed(*pair, "scheduler=cosine")).scheduler
        == composed(*pair, "scheduler=cosine").scheduler
    )
    assert recipe_of("student", composed("method=mlkd", "trainer.max_epochs=3")).trainer.max_epochs == 3
