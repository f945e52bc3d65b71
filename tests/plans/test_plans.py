"""Plans: kept steps are found again, the last training is the run's, and what cannot be is told in a line."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from torch import nn

from kd_lightning import Term
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.losses.sample_weights import Confidence
from kd_lightning.plans import Parts, Steps
from kd_lightning.schedules import Linear, Progress
from kd_lightning.training.kept import term_settings
from tests.conftest import Command

HERE = "tests.plans.test_plans"
TAKEN = ["student.logits", "teacher.logits"]
SMALL = (
    *(
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "trainer.accelerator=cpu",
        "callbacks.progress_bar=null",
    ),
    *("teacher.model=digits_cnn_8", "scratch=false"),
)


@pytest.fixture(autouse=True)
def _own_store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))


class Chain:
    """A teacher teaches a network in between, which teaches the student."""

    def __init__(self, model: str = "digits_cnn_4") -> None:
        self.model = model

    def steps(self, parts: Parts) -> Steps:
        teacher, network = (yield parts.teacher), parts.network(self.model)
        between = yield parts.distilled("between", network, teacher, is_kept=True)
        yield parts.distilled("student", parts.student, between)


class NothingOfItsOwn:
    def steps(self, parts: Parts) -> Steps:
        yield parts.distilled("student", parts.student, (yield parts.teacher), is_kept=True)


class TwoOfItsOwn:
    def steps(self, parts: Parts) -> Steps:
        teacher = yield parts.teacher
        first = yield parts.distilled("first", parts.student, teacher)
        yield parts.distilled("second", parts.student, first)


class Twice:
    def steps(self, parts: Parts) -> Steps:
        teacher = yield parts.teacher
        yield parts.distilled("student", parts.student, teacher, is_kept=True)
        yield parts.distilled("student", parts.student, teacher)


class Reserved:
    def steps(self, parts: Parts) -> Steps:
        yield parts.distilled("time", parts.student, (yield parts.teacher))


class NoPlan:
    pass


def plan(kind: type) -> str:
    return f"plan={{_target_: {HERE}.{kind.__name__}}}"


def test_what_is_kept_is_found_again_and_follows_what_it_learned_from(command: Command) -> None:
    first = command("kd-train", plan(Chain), *SMALL, "hydra.run.dir=first")
    assert first.code == 0, first.errors
    summary = json.loads((first.folder / "first" / "summary.json").read_text())
    assert list(summary["plan"]["networks"]) == ["teacher", "between", "student"]
    assert summary["plan"]["result"] == "student"
    assert (first.folder / "first" / "between" / "metrics.csv").exists()
    again = command("kd-train", plan(Chain), *SMALL, "student.model=digits_cnn_16", "hydra.run.dir=again")
    assert re.search(r"between +digits_cnn_4 ← digits_cnn_8, found", again.output), "another student, the same between"
    other = command("kd-train", plan(Chain), *SMALL, "teacher.optimizer.lr=0.01", "hydra.run.dir=other")
    assert re.search(r"between +digits_cnn_4 ← digits_cnn_8, training", other.output), "it learned from another teacher"
    other = command("kd-train", plan(Chain), *SMALL, "temperature=2", "hydra.run.dir=on_other_terms")
    assert re.search(r"between +digits_cnn_4 ← digits_cnn_8, training", other.output), "it learns on other terms"
    tested = command("kd-eval", "run=first")
    assert tested.code == 0, tested.errors
    assert "agreement" in tested.output


def square(progress: Progress) -> float:
    return progress.fraction**2


@pytest.mark.parametrize(
    "other",
    [
        Term(SoftTarget(temperature=2), TAKEN, 0.5),
        Term(SoftTarget(temperature=Linear(4, 1)), TAKEN, 0.5),
        Term(SoftTarget(temperature=4), TAKEN, Linear(0.5, 1)),
        Term(SoftTarget(temperature=4), [TAKEN[0], f"{TAKEN[1]}.detached"], 0.5),
        Term(SoftTarget(temperature=4), TAKEN, 0.5, sample_weight=Confidence("teacher.logits")),
        Term(SoftTarget(temperature=4), TAKEN, 0.5, sample_weight="difficulty"),
        Term(SoftTarget(temperature=4), TAKEN, 0.5, projector=partial(nn.Linear, 10)),
        Term(SoftTarget(temperature=4), TAKEN, 0.5, stream="unlabelled"),
        Term(CrossEntropy(class_weights=[1.0, 2.0]), TAKEN, 0.5),
        Term(SoftTarget(temperature=4), TAKEN, square),  # type: ignore[arg-type] # a schedule may be a function
    ],
)
def test_terms_that_a_plan_makes_are_told_apart(other: Term) -> None:
    """What is kept is found by all that they were made with, and in every process by the same."""
    told = [json.dumps(term_settings(term)) for term in (Term(SoftTarget(temperature=4), TAKEN, 0.5), other)]
    assert told[0] != told[1]
    assert " at 0x" not in told[1]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (NothingOfItsOwn, "plan: none of its trainings is the run's own"),
        (TwoOfItsOwn, "plan: a step follows the training that the run is about"),
        (Twice, "plan: cannot give a step or a learner the name 'student', which is taken"),
        (Reserved, "plan: cannot give a step or a learner the name 'time', which is taken"),
        (NoPlan, f"plan._target_={HERE}.NoPlan: has no method steps(parts)"),
    ],
)
def test_what_is_no_plan_is_refused_before_anything_is_trained(kind: type, words: str, command: Command) -> None:
    outcome = command("kd-train", plan(kind), *SMALL, "hydra.run.dir=run")
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert line.startswith(f"error: {words}")
    assert not (outcome.folder / "run").exists()
