"""A run whose teacher is a moving average of its student: measured at the end, kept in checkpoints, tested again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Command

RUN = (
    "kd-train",
    *("teacher=moving_average", "teacher.decay=0.9"),
    *("scratch=false", "trainer.max_epochs=3", "callbacks.progress_bar=null"),
)


def summary(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return found


def test_it_is_measured_at_the_end_and_tested_again_with_equal_numbers(command: Command) -> None:
    outcome = command(*RUN, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    teacher, student = (summary("run")[role] for role in ("teacher", "student"))
    assert teacher["model"] == "MovingAverage"
    assert teacher["params"] == student["params"]
    assert 0 < teacher["top1"] != student["top1"]
    state = torch.load(Path("run", "checkpoints", "last.ckpt"), weights_only=True)["state_dict"]
    averages = [name.removeprefix("teacher.network.") for name in state if name.startswith("teacher.network.")]
    assert state["teacher._extra_state"] == 3 * 7, "how many steps it has followed"
    assert {*averages} == {name.removeprefix("student.") for name in state if name.startswith("student.")}
    best = torch.load(Path("run", "checkpoints", "best.ckpt"), weights_only=True)["state_dict"]
    exported = load_file(Path("run", "student.safetensors"))
    assert all(torch.equal(exported[name], best[f"student.{name}"]) for name in exported), "the student, and no average"
    tested = command("kd-eval", "run=run")
    assert tested.code == 0, tested.errors
    (line,) = [line for line in tested.output.splitlines() if "agreement" in line]
    now, before = line.split()[-2:]
    assert now == before


def test_a_run_that_was_stopped_goes_on_as_it_would_have(command: Command) -> None:
    assert command(*RUN, "hydra.run.dir=whole").code == 0
    with pytest.raises(OSError, match="no power"):
        command(*RUN, "hydra.run.dir=cut", "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}")
    assert command(*RUN, "hydra.run.dir=cut").code == 0
    whole, cut = (torch.load(Path(name, "checkpoints", "last.ckpt"), weights_only=True) for name in ("whole", "cut"))
    torch.testing.assert_close(cut["state_dict"], whole["state_dict"], rtol=0, atol=0)
    metrics = [{name: summary(run)["teacher"][name] for name in ("top1", "nll", "ece")} for run in ("whole", "cut")]
    assert metrics[0] == metrics[1]


def test_a_training_before_the_training_may_take_other_taps_of_it(command: Command) -> None:
    soft = "{_target_: kd_lightning.losses.SoftTarget}"
    term = f"{{_target_: kd_lightning.objective.Term, loss: {soft}, signals: [student.logits, teacher.logits]}}"
    outcome = command(
        *(*RUN, "trainer.max_epochs=1", "loss=[ce,attention]", "test=false", "trainer.limit_train_batches=2"),
        f"initialization={{epochs: 1, lr: 0.01, loss: {{kd: {term}}}}}",
    )
    assert outcome.code == 0, outcome.errors
