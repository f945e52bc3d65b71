"""A temperature or alpha that no term takes is refused where a command line gives it."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.sweeps.test_sweep import FOLDER, SMALL


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["method=dkd", "temperature=2"],
            "no term of the loss takes the run's temperature; set loss.dkd.loss.temperature instead",
        ),
        (["method=dkd_ls", "++temperature=2"], "loss.ls.loss.loss.temperature"),
        (["method=dkd", "alpha=0.5"], "set loss.ce.weight, loss.dkd.weight.value or loss.dkd.loss.alpha instead"),
        (["loss=[ce,attention]", "temperature=8"], "leave it out"),
        (["loss=[ce,kd]", "loss.kd=null", "temperature=8"], "temperature=8: no term"),
        (["-m", "method=dkd", "temperature=1,8", FOLDER], "temperature=1,8: no term"),
        (["-m", "method=dkd,dist", "alpha=0.5", FOLDER], "alpha=0.5: no term"),
    ],
)
def test_what_no_term_takes_is_refused(command: Command, arguments: list[str], told: str) -> None:
    outcome = command("kd-train", *SMALL, *arguments)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert told in line
    assert list(outcome.folder.iterdir()) == []


@pytest.mark.slow
def test_what_a_term_takes_somewhere_is_not(command: Command) -> None:
    options = (*SMALL, "teacher.weights=null", "scratch=false")
    own = Path("own/loss/mine.yaml")
    own.parent.mkdir(parents=True)
    own.write_text(
        "mine:\n  _target_: kd_lightning.objective.Term\n  signals: [student.logits, teacher.logits]\n  loss:\n"
        "    _target_: kd_lightning.losses.SoftTarget\n    temperature: ${own_temperature}\n"
    )
    through_another_key = ("--config-dir", "own", "loss=[ce,mine]", "+own_temperature='${temperature}'")
    outcome = command("kd-train", *options, *through_another_key, "temperature=2", "hydra.run.dir=one")
    assert outcome.code == 0, outcome.errors
    in_one_job = command("kd-train", "-m", "method=kd,dkd", "temperature=2", *options, FOLDER)
    assert in_one_job.code == 0, in_one_job.errors


def test_a_teacher_that_is_named_where_there_is_none_is_told(command: Command) -> None:
    small = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "callbacks.progress_bar=null", "scratch=false")
    outcome = command("kd-train", *small, "method=tf_kd_reg", "teacher.model=digits_cnn_8")
    assert outcome.code == 0, outcome.errors
    told = "warning: teacher.model=digits_cnn_8 has no effect: there is no teacher, as teacher=none or the method says"
    assert told in " ".join(outcome.errors.split())
    assert json.loads((outcome.run / "summary.json").read_text())["teacher"] is None


def test_a_config_that_sets_one_for_nothing_is_told(command: Command) -> None:
    own = Path("own/experiment/mine.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\ndefaults: [{override /method: dkd}]\ntemperature: 2.0\n")
    arguments = (*SMALL, "--config-dir", "own", "experiment=mine", "teacher.weights=null", "scratch=false")
    outcome = command("kd-train", *arguments)
    assert outcome.code == 0, outcome.errors
    assert "warning: temperature=2.0, as a config sets it, has no effect" in outcome.errors
    assert "no effect" not in command("kd-train", *arguments, "method=kd").errors
