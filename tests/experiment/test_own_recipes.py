"""A teacher, and a student alone, with a recipe of their own: their training, their keys, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kd_lightning.config.parts.recipe import recipe_of
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.training.kept import cache_key, data_of
from kd_lightning.training.modules import build_module
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.steps import trained_alone, trainings
from tests.experiment.test_recipe_of_student import SMALL, rates

SHORT = ("trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.log_every_n_steps=1", "scheduler=constant")
SEEN = (*SMALL, *SHORT, "callbacks=[default,learning_rate]", "callbacks.progress_bar=null")
LABELS = (
    "{_target_: kd_lightning.objective.Term, signals: [student.logits, target], "
    "loss: {_target_: kd_lightning.losses.CrossEntropy, label_smoothing: 0.2}}"
)
STRONG = LABELS.replace("student.logits", "student@strong.logits")
OF_TEACHER = LABELS.replace("student.logits", "teacher.logits")


def test_each_is_trained_by_its_own(command: Command) -> None:
    own = (
        *("teacher.optimizer.lr=0.02", "teacher.trainer.max_epochs=2", "teacher.data.batch_size=32"),
        *("scratch.optimizer.lr=0.04", "student.optimizer.lr=0.08", "seed=31"),
    )
    outcome = command("kd-train", *SEEN, *own, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    run = outcome.folder / "run"
    assert rates(run / "teacher" / "metrics.csv") == ({0.02}, 2)
    assert rates(run / "scratch" / "metrics.csv") == ({0.04}, 1)
    assert rates(run / "metrics.csv") == ({0.08}, 1)
    assert "optimizer={lr=0.02}" in outcome.output.replace("\n", "")
    assert command("kd-eval", "run=run").output.count("agreement") > 0, "the teacher is found again"
    again = command("kd-train", *SEEN, *own, "trainer.max_epochs=2", "hydra.run.dir=longer")
    assert re.search(r"teacher +digits_cnn_8, found", again.output)
    assert re.search(r"student alone +digits_cnn_4, training", again.output)


def test_terms_of_its_own(command: Command) -> None:
    terms = (
        "+loss@teacher.loss=[ce,hard_label]",
        "teacher.loss.hard_label=null",
        "teacher.loss.ce.loss.label_smoothing=0.1",
    )
    outcome = command("kd-train", *SEEN, *terms, "scratch=false", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    stored = OmegaConf.load(outcome.folder / "run" / ".hydra" / "resolved.yaml")
    assert OmegaConf.select(stored, "teacher.loss.ce.weight") == 1, "no soft target stands beside it"
    assert OmegaConf.select(stored, "loss.ce.weight") == pytest.approx(0.1)
    assert "train/ce" in (outcome.folder / "run" / "teacher" / "metrics.csv").read_text()


def keys(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the kept teacher and the kept student alone are found by."""
    experiment = check(composed("student.model=digits_cnn_4", *overrides))
    teacher, scratch = (cache_key(one, experiment.parts.context) for one in trained_alone(experiment))
    return teacher, scratch


def test_a_trial_of_the_student_does_not_retrain_the_teacher() -> None:
    whole = keys("trainer.max_epochs=240")
    assert keys("trainer.max_epochs=240", "student.trainer={max_epochs: 2}") == whole
    teacher, scratch = keys("trainer.max_epochs=2", "teacher.trainer={max_epochs: 240}")
    assert (teacher, scratch) == (whole[0], keys("trainer.max_epochs=2")[1])
    assert keys("trainer.max_epochs=2", "++scratch.trainer={max_epochs: 240}")[1] == whole[1]


def test_what_it_has_of_its_own_is_in_its_key_as_if_the_run_had_it() -> None:
    usual = keys()
    for part in (
        "optimizer={lr: 0.1}",
        "scheduler={warmup: 0.1}",
        "trainer={precision: bf16-mixed}",
        "data={batch_size: 32}",
    ):
        name, values = part.split("=")
        ((key, value),) = OmegaConf.to_container(OmegaConf.create(values)).items()  # type: ignore[union-attr]
        of_run = keys(f"{name}.{key}={value}")
        assert keys(f"teacher.{part}") == (of_run[0], usual[1])
        assert keys(f"++scratch.{part}") == (usual[0], of_run[1])
    terms = keys(f"teacher.loss={{ce: {LABELS}}}")
    assert terms[1] == usual[1]
    assert "loss" not in terms[0]
    assert terms[0]["terms"]["ce"]["loss"]["label_smoothing"] == 0.2
    several = [
        keys(f"teacher.loss={{ce: {LABELS}, other: {LABELS.replace('0.2', share)}}}")[0] for share in ("0.3", "0.4")
    ]
    assert several[0] != several[1]
    assert several[0]["terms"]["other"]["loss"]["label_smoothing"] == 0.3
    assert keys(f"++scratch.loss={{ce: {STRONG}}}", "data.strong={_target_: kd_lightning.data.RandAugment}")[1][
        "strong"
    ]


def test_loggers_are_told_what_it_is_trained_by() -> None:
    config = composed("teacher.optimizer={lr: 0.2}", "++scratch.optimizer={lr: 0.3}")
    experiment = check(config)
    describe = experiment.parts.context.describe
    told = {one.name: describe(one).config["optimizer.lr"] for one in trained_alone(experiment)}
    assert told == {"teacher": 0.2, "scratch": 0.3}
    whole = describe(trainings(experiment)["student"][0]).config
    assert (whole["optimizer.lr"], whole["teacher.optimizer.lr"], whole["scratch.optimizer.lr"]) == (0.05, 0.2, 0.3)


def test_each_network_of_an_ensemble_has_it() -> None:
    ensemble = ("teacher=ensemble", "teacher.models=[digits_cnn_4,digits_cnn_4]", "scratch=false")
    experiment = check(composed(*ensemble, "teacher.optimizer={lr: 0.1}"))
    found = [cache_key(one, experiment.parts.context) for one in trained_alone(experiment)]
    assert [(key["optimizer"]["lr"], key["seed"]) for key in found] == [(0.1, 0), (0.1, 1)]


def test_another_class_stands_for_itself() -> None:
    adam = "{_target_: torch.optim.AdamW, lr: 0.001}"
    config = composed(
        f"teacher.optimizer={adam}", "++scratch.scheduler={_target_: kd_lightning.schedules.learning_rate.Step}"
    )
    optimizer = recipe_of("teacher", config).optimizer
    assert optimizer == {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.001}
    assert recipe_of("scratch", config).scheduler == {"_target_": "kd_lightning.schedules.learning_rate.Step"}
    assert recipe_of("student", config) is config
    check(config)


def test_strong_views_and_batches_are_those_of_its_terms() -> None:
    config = composed(
        "data.strong={_target_: kd_lightning.data.RandAugment}",
        f"teacher.loss={{ce: {STRONG}}}",
        "teacher.data={batch_size: 7}",
        "teacher.model=digits_cnn_4",
    )
    experiment = check(config)
    experiment.data.setup()
    teacher, student = trained_alone(experiment)
    data = data_of(teacher)
    batch = next(iter(data.train_dataloader()))
    assert batch["input_strong"].shape == batch["input"].shape
    assert len(batch["input"]) == 7
    alone = data_of(student)
    batch = next(iter(alone.train_dataloader()))
    assert len(batch["input"]) == 64
    assert "input_strong" not in batch
    assert list(build_module(teacher, experiment.parts.context).objective.terms) == ["ce"]


PAIRS = (
    "vgg13_MobileNetV2",
    "ResNet50_MobileNetV2",
    "resnet32x4_ShuffleV1",
    "resnet32x4_ShuffleV2",
    "wrn_40_2_ShuffleV1",
)


@pytest.mark.parametrize("pair", PAIRS)
def test_published_teachers_have_their_own_rate(pair: str) -> None:
    config = composed(f"experiment=cifar100/{pair}", "data.root=somewhere")
    rates_of = {owner: recipe_of(owner, config).optimizer.lr for owner in ("teacher", "scratch", "student")}
    assert rates_of == {"teacher": 0.05, "scratch": 0.01, "student": 0.01}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher.optimizer={lr: -1}", r"^teacher\.optimizer\.lr=-1: .*learning rate"),
        ("teacher.optimizer={lr: nan}", r"^teacher\.optimizer\.lr=nan: must be a finite number"),
        ("teacher.optimizer={lrr: 1}", r"^teacher\.optimizer\.lrr=1: .*did you mean lr"),
        ("teacher.trainer={max_epochs: 0}", r"^teacher\.trainer\.max_epochs=0: nothing to train"),
        ("teacher.trainer={gradient_clip_val: -1}", r"^teacher\.trainer\.gradient_clip_val=-1"),
        ("teacher.trainer=4", r"^teacher\.trainer=4: what differs"),
        ("teacher.data={batch_size: 0}", r"^teacher\.data\.batch_size=0: must be a whole number"),
        ("teacher.data={root: x}", r"^teacher\.data\.root=x: .*teacher\.data\.batch_size alone"),
        ("teacher.loss={}", r"^teacher\.loss=\[\]: nothing to minimise"),
        (f"teacher.loss={{kd: {OF_TEACHER}}}", r"^teacher\.loss\.kd: .*trained by itself"),
        (f"teacher.loss={{ce: {LABELS.replace('.logits', '.stage9')}}}", r"stage9: .*no such tap"),
        (f"teacher.loss={{ce: {LABELS.replace('student', 'pupil')}}}", r"^teacher\.loss\.ce\..*=pupil\.logits: nobody"),
        (f"teacher.loss={{ce: {LABELS.replace('0.2', '2')}}}", r"^teacher\.loss\.ce\.loss\.label_smoothing=2"),
        ("scratch=3", "^scratch=3: must be true or false, or a mapping of optimizer, scheduler, trainer, data, loss"),
        ("++scratch.epochs=3", r"^scratch\.epochs=3: nothing reads this key; there are optimizer"),
        ("++scratch.optimizer={lr: -1}", r"^scratch\.optimizer\.lr=-1"),
        ("++scratch.scheduler={interval: 3}", r"^scratch\.scheduler\.interval=3"),
    ],
)
def test_bad_values_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(composed(override, "trainer.accelerator=cpu"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["teacher.optimizer.lr=-1"], "teacher.optimizer.lr=-1: "),
        (
            ["scratch.optimizer.lrr=1"],
            "scratch.optimizer.lrr=1: torch.optim.SGD has no such argument; did you mean lr?",
        ),
        (
            ["teacher.weights=null", "teacher.optimizer.lr=1"],
            "teacher.optimizer.lr=1: no teacher is trained with teacher",
        ),
        (
            ["teacher=none", "scratch.trainer.max_epochs=1"],
            "scratch.trainer.max_epochs=1: the student is not trained al",
        ),
        (
            ["teacher=moving_average", "teacher.optimizer.lr=1"],
            "teacher.optimizer={'lr': 1}: kd_lightning.sources.Mo",
        ),
        (
            ["teacher.model=digits_cnn_4", "teacher.optimizer={_target_: torch.optim.SparseAdam, lr: 0.017}"],
            "teacher.optimizer._target_=torch.optim.SparseAdam: the first step of the teacher fails: ",
        ),
        (["-m", "teacher.optimizer.lr=0.1,-1", "hydra.sweep.dir=sweep"], "teacher.optimizer.lr=-1: "),
        (["-m", "scratch.optimizer.lr=0.1,-1", "hydra.sweep.dir=sweep"], "scratch.optimizer.lr=-1: "),
        (
            ["teacher.trainer.gradient_clip_val=1", "teacher.trainer.gradient_clip_algorithm=x"],
            "teacher.trainer.gradie",
        ),
    ],
)
def test_bad_values_are_told_in_a_line(command: Command, arguments: list[str], told: str) -> None:
    outcome = command("kd-train", *SHORT, *arguments)
    assert outcome.code == 2, outcome.output
    [line] = outcome.error_lines
    assert told in line
    assert [*outcome.folder.iterdir()] == []


def test_a_users_own_files_need_not_name_it(command: Command) -> None:
    own = {"model": "digits_cnn_4", "weights": "train", "weights_key": None, "taps": "auto", "normalization": "auto"}
    own |= {"batch_statistics": False, "cache": "off", "cache_bits": 16, "cache_top_k": None}
    Path("own/teacher").mkdir(parents=True)
    Path("own/teacher/default.yaml").write_text(json.dumps(own))
    outcome = command("kd-train", "--config-dir", "own", "teacher.optimizer.lr=0.1", "--cfg", "job", "--resolve")
    assert outcome.code == 0, outcome.errors
    assert json.dumps(OmegaConf.to_container(OmegaConf.create(outcome.output)["teacher"]["optimizer"])) == '{"lr": 0.1}'
