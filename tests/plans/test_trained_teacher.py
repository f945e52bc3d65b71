"""teacher.trained=true: a teacher that learns beside its student, L = L_student + λ·L_teacher in one training."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.plans import Training
from kd_lightning.schedules import Linear, Progress, Times
from kd_lightning.teachers.learning import weighted
from kd_lightning.training.modules import build_module
from tests.cli.test_configs import composed
from tests.conftest import Command

LEARNS = "teacher.trained=true"
SMALL = (
    *("trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.accelerator=cpu", "scratch=false"),
    *("callbacks.progress_bar=null", "teacher.model=digits_cnn_8", "++teacher.optimizer.lr=0.02"),
)


@pytest.fixture(autouse=True)
def _own_store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))


def summary(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text())


def test_both_are_kept_and_the_teacher_learns_as_it_would_alone(command: Command, tmp_path: Path) -> None:
    """With λ = 1 nothing of the student reaches it: it is the network that an ordinary run trains first."""
    clipped = (*SMALL, "trainer.gradient_clip_val=0.5")
    both = command("kd-train", *clipped, LEARNS, "hydra.run.dir=both")
    assert both.code == 0, both.errors
    assert not [*(tmp_path / "cache").glob("networks/*/weights.safetensors")], "nothing was trained beforehand"
    assert command("kd-train", *clipped, "hydra.run.dir=first").code == 0
    (alone,) = (tmp_path / "cache").glob("networks/*/weights.safetensors")
    beside, kept = load_file(tmp_path / "both" / "teacher.safetensors"), load_file(alone)
    assert all(torch.equal(beside[name], kept[name]) for name in kept)
    told, ordinary = summary(tmp_path / "both"), summary(tmp_path / "first")
    assert [*told["plan"]["networks"]] == ["teacher", "student"], "in the order of tables"
    assert told["plan"]["networks"]["teacher"] == {"title": "teacher", "role": "teacher"}
    assert told["teacher"]["top1"] == ordinary["teacher"]["top1"]
    assert told["student"]["nll"] != ordinary["student"]["nll"], "it learned from another teacher in each step"
    assert {*told["objective"]} == {"student.ce", "student.kd", "teacher.ce"}
    for name in ("best_student", "best_teacher", "last"):
        assert (tmp_path / "both" / "checkpoints" / f"{name}.ckpt").exists()
    tested = command("kd-eval", "run=both")
    (line,) = [line for line in tested.output.splitlines() if "top-1 %" in line]
    *_, student, stored, teacher, teacher_stored = line.split()
    assert (student, teacher) == (stored, teacher_stored)


def test_it_teaches_several_students(command: Command, tmp_path: Path) -> None:
    one_epoch = (*SMALL[1:], "trainer.max_epochs=1", LEARNS, "student.models=[digits_cnn_4,digits_cnn_8]")
    outcome = command("kd-train", *one_epoch, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    weights = {name: load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("student_2", "teacher")}
    assert not torch.equal(*(own["fc.weight"] for own in weights.values())), "of one model, from seeds of their own"
    assert [*summary(tmp_path / "run")["plan"]["networks"]] == ["teacher", "student_1", "student_2"]


def built(*overrides: str) -> Any:
    """The module of the run's training and its first batch, on the device."""
    experiment = check(composed(*SMALL, LEARNS, *overrides))
    experiment.data.setup()
    (training,) = experiment.plan.steps(experiment.parts)
    assert isinstance(training, Training)
    module = build_module(training, experiment.parts.context)
    batch = next(iter(experiment.data.train_dataloader()))
    return module, experiment.data.on_after_batch_transfer(batch, 0)


def test_a_step_is_that_of_a_plain_loop() -> None:
    module, batch = built("teacher.weight=0.5", "temperature=3", "alpha=0.8")
    student, teacher = (copy.deepcopy(module.network_of(name)) for name in ("student", "teacher"))
    total = sum(one.total for one in module.losses(module._signals.of_streams({"": batch}, training=True)).values())
    total.backward()
    given, target = batch["input"], batch["target"]
    logits, answers = student(given), teacher(given)
    soft = F.kl_div(F.log_softmax(logits / 3, 1), F.softmax(answers.detach() / 3, 1), reduction="batchmean")
    of_student = 0.2 * F.cross_entropy(logits, target) + 0.8 * 9 * soft
    (of_student + 0.5 * F.cross_entropy(answers, target)).backward()
    for name, plain in (("student", student), ("teacher", teacher)):
        for own, expected in zip(module.network_of(name).parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(own.grad, expected.grad)
    assert max(float(one.grad.abs().max()) for one in teacher.parameters()) > 0  # type: ignore[union-attr]


def test_a_teacher_of_the_students_model_begins_as_another_network() -> None:
    module, _ = built("teacher.model=${student.model}")
    student, teacher = (module.network_of(name).state_dict() for name in ("student", "teacher"))
    assert not torch.equal(student["fc.weight"], teacher["fc.weight"])


def test_a_schedule_is_weighted_too() -> None:
    terms = check(composed(LEARNS)).parts.context.alone["teacher"].terms
    scheduled = {name: copy.copy(term) for name, term in terms().items()}
    scheduled["ce"].weight = Linear(1.0, 0.0)
    found = weighted(lambda: scheduled, 0.5)["ce"].weight
    assert isinstance(found, Times)
    assert found(Progress(fraction=0.5)) == 0.25
    assert scheduled["ce"].weight(Progress(fraction=0.5)) == 0.5, "what the config made stays"


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ((LEARNS, "teacher.cache=logits"), ("teacher.cache=logits", "teacher.cache=off")),
        ((LEARNS, "teacher.cache=prefill"), ("teacher.cache=prefill", "teacher.cache=off")),
        ((LEARNS, "teacher.weight=0"), ("teacher.weight=0", "above 0")),
        ((LEARNS, "teacher.weight=-1"), ("teacher.weight=-1", "above 0")),
        ((LEARNS, "teacher.weight=inf"), ("teacher.weight=inf", "above 0")),
        ((LEARNS, "teacher.weight=true"), ("teacher.weight=True", "above 0")),
        ((LEARNS, "teacher.weight=much"), ("teacher.weight=much", "above 0")),
        (("teacher.weight=0.5",), ("teacher.weight=0.5", "teacher.trained=true")),
        (("teacher.trained=maybe",), ("teacher.trained=maybe", "true")),
        ((LEARNS, "teacher.batch_statistics=true"), ("teacher.batch_statistics=true", "leave it false")),
        ((LEARNS, "teacher.finetune=head", "teacher.weights=pretrained"), ("teacher.finetune=head", "null")),
        ((LEARNS, "++teacher.trainer.max_epochs=3"), ("teacher.trainer", "null")),
        ((LEARNS, "++teacher.data.batch_size=32"), ("teacher.data", "null")),
        ((LEARNS, "plan=born_again"), ("plan=born_again", "plan=distillation")),
        ((LEARNS, "plan=route"), ("plan=route", "plan=distillation")),
        ((LEARNS, "method=simkd"), ("student.adapt", LEARNS)),
        ((LEARNS, "method=ab"), ("initialization", LEARNS)),
        ((LEARNS, "++teacher.optimizer.lr=-1"), ("teacher.optimizer.lr=-1",)),
    ],
)
def test_what_does_not_go_with_it_is_told_in_a_line(overrides: tuple[str, ...], parts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as raised:
        check(composed(*overrides))
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_it_would_have(command: Command, tmp_path: Path) -> None:
    run = ("kd-train", *SMALL, LEARNS, "teacher.weight=0.7", "data.augment=null")
    assert command(*run, "hydra.run.dir=whole").code == 0
    with pytest.raises(OSError, match="no power"):
        command(*run, "hydra.run.dir=cut", "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}")
    assert command(*run, "hydra.run.dir=cut").code == 0
    whole, cut = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    torch.testing.assert_close(cut, whole, rtol=0, atol=0)
