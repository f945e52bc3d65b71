"""Several students in one training: each ends as it would alone, and has its own row, weights, curve and checkpoint."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning.config.parts.students import students_in
from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.plans.mutual import apart
from kd_lightning.sources import FrozenNetwork
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.steps import trainings

SMALL = (
    *("trainer.max_epochs=2", "trainer.limit_train_batches=4", "trainer.accelerator=cpu", "scratch=false"),
    *("trainer.log_every_n_steps=1", "callbacks.progress_bar=null"),
)
TEACHER = "teacher.model=digits_cnn_8"
STUDENTS = (
    {"model": "digits_cnn_4", "taps": "{hint: layer3}"},
    {"model": "{_target_: droppy.Droppy}", "taps": "{hint: '2'}", "optimizer": "{lr: 0.02}"},
)
MODELS = ",".join("{" + ",".join(f"{key}: {value}" for key, value in one.items()) + "}" for one in STUDENTS)
HINTS = ("loss=[ce,kd,fitnet]", "loss.fitnet.signals=[student.hint,teacher.stage3]", "trainer.gradient_clip_val=0.5")
PAIR = "student.models=[digits_cnn_4,digits_cnn_4]"
OTHERS = "student.models=[digits_cnn_4,digits_cnn_8]"
DROPPY = """
from torch import nn


class Droppy(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(24, num_classes)
        )
"""


@pytest.fixture(autouse=True)
def _here(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "droppy.py").write_text(DROPPY)
    monkeypatch.syspath_prepend(tmp_path)


def summary(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text())


def curves(run: Path) -> dict[str, list[str]]:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return {name: [row[name] for row in rows if row[name]] for name in rows[0]}


@pytest.mark.parametrize(
    "options",
    [HINTS, pytest.param(("teacher.cache=logits", "trainer.accumulate_grad_batches=2"), marks=pytest.mark.slow)],
)
def test_each_ends_number_for_number_as_if_it_were_trained_alone(
    command: Command, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """With dropout, batch normalisation, a projector, clipping and an optimizer of its own."""
    together = command("kd-train", *SMALL, TEACHER, *options, f"student.models=[{MODELS}]", "hydra.run.dir=together")
    assert together.code == 0, together.errors
    shown, record = curves(tmp_path / "together"), summary(tmp_path / "together")
    for place, own in enumerate(STUDENTS, start=1):
        given = [f"student.{key}={value}" for key, value in own.items()]
        alone = command("kd-train", *SMALL, TEACHER, *options, *given, f"hydra.run.dir=alone{place}")
        assert alone.code == 0, alone.errors
        theirs = load_file(tmp_path / f"alone{place}" / "student.safetensors")
        ours = load_file(tmp_path / "together" / f"student_{place}.safetensors")
        assert [*ours] == [*theirs]
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
        own_curves, own_record = curves(tmp_path / f"alone{place}"), summary(tmp_path / f"alone{place}")
        terms = {name for name in own_curves if name.startswith("train/") and f"{name}_weighted" in own_curves}
        for name in ("val/top1", "val/nll", "train/loss", *terms):
            stage, _, metric = name.partition("/")
            assert shown[f"{stage}/student_{place}/{metric}"] == own_curves[name], name
        one, other = record[f"student_{place}"], own_record["student"]
        assert {name for name in other if one[name] != other[name]} <= {"latency_ms", "latency_iqr_ms"}
        best = torch.load(tmp_path / "together" / "checkpoints" / f"best_student_{place}.ckpt", weights_only=True)
        theirs = torch.load(tmp_path / f"alone{place}" / "checkpoints" / "best.ckpt", weights_only=True)
        assert best["epoch"] == theirs["epoch"]


def test_students_that_teach_each_other_begin_apart_and_are_compared_each(command: Command, tmp_path: Path) -> None:
    mutual = ("method=dml", PAIR, *SMALL, "scratch=true", "scratch.optimizer.lr=0.01", "logger=[csv,tensorboard]")
    done = command("kd-train", *(one for one in mutual if one != "scratch=true"), "hydra.run.dir=run")
    assert done.code == 0, done.errors
    record = summary(tmp_path / "run")
    networks = record["plan"]["networks"]
    assert [*networks] == ["scratch_1", "scratch_2", "student_1", "student_2"]
    assert [networks[f"student_{n}"]["baseline"] for n in (1, 2)] == ["scratch_1", "scratch_2"]
    assert (record["plan"]["result"], record["plan"]["baseline"]) == ("student_1", "scratch_1")
    assert done.output.count("compared with the student") == 2
    assert "student 1 : student 2" not in done.output, "their sizes are not of one taught by the other"
    assert {name: term["weight"] for name, term in record["objective"].items()} == {
        f"student_{place}.{term}": 1.0 for place in (1, 2) for term in ("ce", "mutual")
    }
    one, other = (load_file(tmp_path / "run" / f"student_{place}.safetensors") for place in (1, 2))
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    assert record["scratch_1"]["nll"] != record["scratch_2"]["nll"]
    tested = command("kd-eval", "run=run")
    assert tested.code == 0, tested.errors
    row = next(line for line in tested.output.splitlines() if line.strip().startswith("NLL"))
    now = row.split()[1:]
    assert now[0] == now[1] != now[2] == now[3]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "gain over the student 1 alone" in page
    assert "gain over the student 2 alone" in page
    exported = command("kd-export", "run=run/student_2.safetensors", "format=torch_export", "compared=8")
    assert exported.code == 0, exported.errors
    assert "run/export/student_2" in exported.output


@pytest.mark.slow
def test_an_interrupted_run_of_several_ends_as_an_uninterrupted_one(command: Command, tmp_path: Path) -> None:
    options = (*SMALL, TEACHER, *HINTS, "plan=mutual", f"student.models=[{MODELS}]")
    whole = command("kd-train", *options, "hydra.run.dir=whole")
    assert whole.code == 0, whole.errors
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", crash)
    assert command("kd-train", *options, "hydra.run.dir=cut").code == 0
    for name in ("last", "best_student_1", "best_student_2"):
        one, other = (
            torch.load(tmp_path / run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for run in ("whole", "cut")
        )
        assert [key for key, value in one.items() if not torch.equal(other[key], value)] == []
    for place in (1, 2):
        before, after = (summary(tmp_path / run)[f"student_{place}"] for run in ("whole", "cut"))
        assert {key for key in before if before[key] != after[key]} <= {"latency_ms", "latency_iqr_ms"}


@pytest.mark.slow
def test_a_chain_of_assistants_teaches_each_as_it_would_alone(command: Command, tmp_path: Path) -> None:
    chain = (*SMALL, TEACHER, "plan=assistants", "plan.assistants=[digits_cnn_8,digits_cnn_4]", "plan.dense=true")
    for run, given in (
        ("together", "student.models=[digits_cnn_8,digits_cnn_4]"),
        ("alone", "student.model=digits_cnn_4"),
    ):
        done = command("kd-train", *chain, given, f"hydra.run.dir={run}")
        assert done.code == 0, done.errors
    ours, theirs = (
        load_file(tmp_path / file) for file in ("together/student_2.safetensors", "alone/student.safetensors")
    )
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.slow
def test_a_sweep_selects_by_the_first(command: Command, tmp_path: Path) -> None:
    given = ("student.models=[digits_cnn_4,digits_cnn_8],[digits_cnn_8,digits_cnn_4]", "trainer.max_epochs=1")
    swept = command("kd-train", "-m", *SMALL[1:], TEACHER, *given, "hydra.sweep.dir=sweep")
    assert swept.code == 0, swept.errors
    reached = [summary(tmp_path / "sweep" / str(job))["student_1"]["top1_validation"] for job in range(2)]
    assert reached == [
        json.loads((tmp_path / "sweep" / str(job) / "status.json").read_text())["validation"] for job in range(2)
    ]


def test_one_teacher_pass_a_step_serves_all() -> None:
    students = "student.models=[digits_cnn_4,digits_cnn_8,{model: digits_cnn_8, optimizer: {lr: 0.1}}]"
    given = (students, TEACHER, "teacher.weights=null", "loss=[ce,kd,attention]", "loss.attention.weight=2.0")
    experiment = check(composed(*given))
    data = experiment.data
    data.prepare_data()
    module = trainings(experiment)["students"][1].train()
    calls: list[Any] = []
    assert isinstance(module.teacher, FrozenNetwork)
    module.teacher.network.register_forward_hook(lambda *_: calls.append(1))
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())))
    values = module.losses((module.signals(batch), {}))
    assert [*values] == ["student_1", "student_2", "student_3"]
    assert len(calls) == 1


def test_values_by_pair_are_those_of_each_student() -> None:
    config = composed(
        "method=ls",
        "teacher.model=vgg13",
        "student.models=[vgg8,{model: resnet20, optimizer: {lr: 0.01}}]",
        "data=cifar100",
    )
    own = students_in(config)
    assert [one.loss.ls.loss.loss.temperature for one in own] == [3.0, 2.0]
    assert [one.student.model for one in own] == ["vgg8", "resnet20"]
    assert [one.student.optimizer for one in own] == [None, {"lr": 0.01}]


@pytest.mark.parametrize(
    ("models", "rate"),
    [
        ("{model: digits_cnn_4, optimizer: {lr: 0.02}},digits_cnn_8", 0.1),
        ("digits_cnn_8,{model: digits_cnn_4, optimizer: {lr: 0.02}}", 0.1),
        ("{model: digits_cnn_8, optimizer: {lr: 0.02}},{model: digits_cnn_4, optimizer: {lr: 0.02}}", 0.02),
    ],
)
def test_assistants_learn_as_all_students_do_and_not_as_the_first(models: str, rate: float) -> None:
    chain = ("plan=assistants", "plan.assistants=[digits_cnn_8]", "optimizer.lr=0.1", TEACHER)
    experiment = check(composed(*chain, f"student.models=[{models}]"))
    assert trainings(experiment)["assistant"][0].recipe.optimizer.settings["lr"] == rate


def test_equal_models_alone_differ_by_their_seeds() -> None:
    models = "[digits_cnn_4,digits_cnn_8,digits_cnn_4,{model: digits_cnn_4, optimizer: {lr: 0.1}}]"
    parts = check(composed("method=dml", f"student.models={models}")).parts
    assert apart(parts) == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["student.models=resnet8"], "student.models=resnet8: must be a list"),
        (
            ["student.models=[resnet8]"],
            "student.models=[resnet8]: several students are two or more; give student.model=re",
        ),
        (["student.models=[digits_cnn_4,null]"], "student.models.1=null: must be a model's name"),
        (["student.models=[digits_cnn_4,digits_cnn_x]"], "student.models.1=digits_cnn_x: no such model"),
        (
            ["student.models=[digits_cnn_4,{wieghts: a}]"],
            "student.models.1.wieghts=a: nothing reads this key; did you mean we",
        ),
        (["student.models=[digits_cnn_4,{trainer: {}}]"], "student.models.1.trainer={}: all students learn in one fit"),
        (
            ["student.models=[digits_cnn_8,{model: digits_cnn_4, weights: pretrained}]"],
            "student.models.1.weights=pretrained: digits_cnn_4 has no published weights",
        ),
        (
            ["student.models=[digits_cnn_8,{model: digits_cnn_4, optimizer: {lrr: 1}}]"],
            "student.models.1.optimizer.lrr=1: torch.optim.SGD has no such argument; did you mean lr?",
        ),
        (
            ["loss=[ce,kd,fitnet]", "student.models=[digits_cnn_8,{model: digits_cnn_4, taps: {stage2: no}}]"],
            "student.models.1.taps.stage2=no: DigitsCNN has no module 'no'",
        ),
        ([PAIR], "student.models.1=digits_cnn_4: is the same as student.models.0"),
        (
            ["student.models=[{_target_: droppy.Droppy},digits_cnn_4,{model: {_target_: droppy.Droppy}}]"],
            "student.models.2.model=Droppy: is the same as student.models.0",
        ),
        ([OTHERS, "plan=born_again"], "student.models: plan=born_again is about one student"),
        ([OTHERS, "method=ab"], "student.models: the method begins with a training before"),
        ([OTHERS, "curriculum=dihcl_ucb"], "curriculum=Paced: follows one student, and student.models are several"),
        (["plan=mutual"], "student.models=null: plan=mutual has students that learn from one another"),
        (
            [OTHERS, "plan=mutual", "plan.term.signals=[student.logits,teacher.logits]"],
            "plan.term: takes student.logits, ",
        ),
        (
            [OTHERS, "loss.kd.signals=[student.logits,peers.foo]"],
            "loss.kd.signals=peers.foo: the student_2 has no such tap",
        ),
        (
            ["loss.kd.signals=[student.logits,peers.logits]"],
            "loss.kd: takes peers.logits, of the other students, and there",
        ),
        (
            ["method=mlkd", "teacher.model=resnet32x4", "student.models=[resnet20,ShuffleV1]", "data=cifar100"],
            "student.models: all learn in one fit, and trainer.max_epochs would be",
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_key(given: list[str], told: str) -> None:
    with pytest.raises(UserError) as raised:
        check(composed(*given))
    assert one_line(raised.value).startswith(told)
