"""Compiled training: the same numbers, no trace left."""

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from lightning import seed_everything

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import Compilation
from kd_lightning.data import DigitsDataModule
from kd_lightning.losses import CrossEntropy, FitNet, SoftTarget
from kd_lightning.models import create_model
from tests.conftest import Command
from tests.experiment.test_own_classes import LearnedLoss
from tests.module.test_module import trainer

HEADERS = Path(sysconfig.get_path("include")) / "Python.h"
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or not HEADERS.exists(), reason="torch.compile needs g++ and Python's headers"
)


def trained(folder: Path, *callbacks: Compilation) -> DistillationModule:
    """A student of a few steps, distilled from logits and a tapped stage."""
    seed_everything(0)
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.1),
        "kd": Term(SoftTarget(4), ["student.logits", "teacher.logits"], 0.9),
        "fitnet": Term(FitNet(), ["student.stage1", "teacher.stage1"]),
    }
    student, teacher = (create_model("digits_cnn_4", 10, 1) for _ in range(2))
    module = DistillationModule(student, teacher, terms, example_input=torch.rand(2, 1, 8, 8))
    data = DigitsDataModule(drop_last=True)
    run = trainer(folder, max_steps=4, callbacks=[*callbacks], limit_val_batches=0)
    run.fit(module, datamodule=data)
    return module


@pytest.mark.slow
@needs_compiler
def test_compiled_networks_learn_the_same(tmp_path: Path) -> None:
    plain, compiled = trained(tmp_path / "plain"), trained(tmp_path / "compiled", Compilation())
    states = [dict(module.state_dict()) for module in (plain, compiled)]
    assert list(states[0]) == list(states[1]), "no name says that it was compiled"
    torch.testing.assert_close(states[0], states[1], rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2, "student and teacher"
    assert compiled.student._compiled_call_impl is None


@pytest.mark.slow
@needs_compiler
def test_a_student_that_is_not_trained_yet_is_compiled_too(tmp_path: Path) -> None:
    student = create_model("digits_cnn_4", 10, 1).requires_grad_(False)
    terms = {"learned": Term(LearnedLoss(), ["student.logits", "target"])}
    module = DistillationModule(student, terms=terms)
    run = trainer(tmp_path, max_steps=1, callbacks=[Compilation()], limit_val_batches=0)
    run.fit(module, datamodule=DigitsDataModule(drop_last=True))
    assert run.global_step == 1


def test_an_unknown_mode_is_named(command: Command) -> None:
    outcome = command("kd-train", "compile=fast")
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith("error: compile=fast: must be one of false, true, default")


def test_clipping_and_a_fused_optimizer_do_not_meet_in_half_precision(command: Command) -> None:
    outcome = command("kd-train", "trainer.precision=16-mixed", "+trainer.gradient_clip_val=1")
    assert outcome.code == 2
    assert "optimizer.fused=false" in outcome.error_lines[0]
