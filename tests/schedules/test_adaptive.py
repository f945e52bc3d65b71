"""Schedules that follow validations: against independent computations, in trainings, killed and taken up."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import SeededBatches, SeededEpochs
from kd_lightning.curricula import Curriculum, Samples
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.schedules import (
    Assessment,
    ByTeacherEntropy,
    Linear,
    NearTeacher,
    OneMinus,
    Plateau,
    Progress,
    Schedule,
    Steps,
)
from kd_lightning.schedules.progress import asks_for_assessment, extremes

CHANCE = torch.Generator().manual_seed(3)
INPUTS = torch.randn(48, 5, generator=CHANCE)
TRUTH = torch.randn(5, 3, generator=CHANCE)
TARGETS = (INPUTS @ TRUTH).argmax(dim=1)
TRAINING, VALIDATION = TensorDataset(INPUTS[:24], TARGETS[:24]), TensorDataset(INPUTS[24:], TARGETS[24:])
BOTH = ["student.logits", "teacher.logits"]


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_a_plateau_is_that_of_torch(patience: int, falling: bool) -> None:
    values = torch.rand(60, generator=torch.Generator().manual_seed(patience)).tolist()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "min" if falling else "max", 0.5, patience, threshold=0.1, threshold_mode="abs", min_lr=0.01, eps=0.0
    )
    plateau = Plateau(start=8.0, factor=0.5, end=0.01, patience=patience, threshold=0.1)
    earlier: list[dict[str, float]] = []
    found = []
    for epoch, value in enumerate(values):
        torchs.step(value)
        seen = Assessment(epoch, {"own": value}, falling=["own"] if falling else [], selects_on="own", earlier=earlier)
        found.append(plateau(Progress(assessment=seen)))
        assert found[-1] == optimizer.param_groups[0]["lr"]
        earlier = [*earlier, seen.metrics]
    assert len({*found}) > 4


@pytest.mark.parametrize(("factor", "end"), [(2.0, 16.0), (0.5, 0.25), (10, 100)])
def test_a_plateau_stays_at_its_end_however_long_it_lasts(factor: float, end: float) -> None:
    seen = Assessment(2000, {"own": 0.5}, selects_on="own", earlier=[{"own": 0.5}] * 2000)
    assert Plateau(start=1.0, factor=factor, end=end, patience=0)(Progress(assessment=seen)) == end


@pytest.mark.parametrize(
    ("schedule", "asks"),
    [
        (Linear(1, 2), False),
        (Steps([1, 2], fractions=[0.5]), False),
        (NearTeacher(0.9, 0.1), True),
        (OneMinus(ByTeacherEntropy(1, 0.5)), True),
        (Plateau(4, 0.5, 1), True),
    ],
)
def test_who_follows_validations(schedule: Schedule, asks: bool) -> None:
    assert asks_for_assessment(schedule) == asks
    assert schedule(Progress()) in [*extremes(schedule)]


def test_of_a_metric_that_falls_the_ratio_is_turned_round() -> None:
    metrics, others = {"nll": 0.8, "top1": 0.9}, {"teacher": {"nll": 0.2, "top1": 0.9}}
    seen = Assessment(0, metrics, falling=["nll"], selects_on="top1", by_source=others)
    assert NearTeacher(1.0, 0.0, metric="nll")(Progress(assessment=seen)) == pytest.approx(0.75)
    assert NearTeacher(1.0, 0.0)(Progress(assessment=seen)) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NearTeacher(math.nan, 0.1), "^start=nan: must be a finite number"),
        (lambda: Plateau(4, 1.0, 1), "^factor=1.0: must be above 0, and not 1"),
        (lambda: Plateau(4, 0.5, 8), "^end=8: .*never comes there"),
        (lambda: Plateau(4, 0.5, 1, patience=-1), "^patience=-1"),
        (
            lambda: Plateau(4, 0.5, 1, metric="best")(Progress(assessment=Assessment(0, {"top1": 1.0}))),
            "^metric=best: validation measures no such metric; it measures top1",
        ),
    ],
)
def test_what_is_no_schedule(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


# In a training.


class Numbers(Callback):
    """The numbers of each step, and the student's accuracy after each epoch."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float, float]] = []
        self.accuracy: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        terms, progress = dict(pl_module.objective.items()), pl_module.progress()
        weights = pl_module.objective.weights(progress)
        self.steps.append((weights["ce"], weights["kd"], terms["kd"].scheduled_numbers(progress)["temperature"]))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            with torch.no_grad():
                right = pl_module(INPUTS[24:]).argmax(dim=1) == TARGETS[24:]
            self.accuracy.append(float(right.float().mean()))


def teacher() -> nn.Linear:
    network = nn.Linear(5, 3)
    with torch.no_grad():
        network.weight.copy_(TRUTH.T + torch.randn(3, 5, generator=torch.Generator().manual_seed(5)))
        network.bias.zero_()
    return network


def train(folder: Path, ckpt: Path | None = None, **options: Any) -> tuple[DistillationModule, Numbers]:
    torch.manual_seed(0)
    alpha, temperature = NearTeacher(start=0.9, end=0.1), ByTeacherEntropy(sure=8.0, unsure=1.0)
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"], OneMinus(alpha)),
        "kd": Term(SoftTarget(temperature), BOTH, alpha),
    }
    module = DistillationModule(nn.Linear(5, 3), teacher(), terms, num_classes=3, **options)
    numbers = Numbers()
    kept = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1)
    ends = ModelCheckpoint(folder, "end-{step}", every_n_epochs=1, save_top_k=-1, save_on_train_epoch_end=True)
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[numbers, SeededBatches(0), SeededEpochs(0), kept, ends],
    )  # fmt: skip
    loaders = DataLoader(TRAINING, 8, shuffle=True), DataLoader(VALIDATION, 7)
    trainer.fit(module, *loaders, ckpt_path=ckpt, weights_only=True)
    return module, numbers


def share_of_entropy(logits: Tensor) -> float:
    p = logits.double().softmax(dim=1)
    return float(-(p * p.log()).sum(dim=1).mean() / math.log(3))


def test_they_follow_student_and_teacher_without_a_curriculum(tmp_path: Path) -> None:
    module, numbers = train(tmp_path)
    assert module.followed is None
    with torch.no_grad():
        answers = teacher()(INPUTS)
    of_teacher = float((answers[24:].argmax(dim=1) == TARGETS[24:]).float().mean())
    temperature = 8.0 - 7.0 * share_of_entropy(answers[:24])
    assert 0.5 < of_teacher < 1.0
    ratios = [0.0, *(min(1.0, one / of_teacher) for one in numbers.accuracy[:3])]
    expected = [
        (0.1 + 0.8 * ratio, 0.9 - 0.8 * ratio, temperature if epoch else 8.0)
        for epoch, ratio in enumerate(ratios)
        for _ in range(3)
    ]
    for found, wanted in zip(numbers.steps, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-5)
    assert len({*ratios}) > 1
    assert module.assessment is not None
    assert [one["top1"] for one in module.assessment.earlier] == pytest.approx(numbers.accuracy[:3])


def test_killed_and_taken_up_they_have_the_same_numbers(tmp_path: Path) -> None:
    whole, numbers = train(tmp_path / "whole")
    for step, name in ((4, "epoch=1-step=4"), (6, "end-step=6"), (8, "epoch=2-step=8")):  # within an epoch, at its end
        again, rest = train(tmp_path / "rest", tmp_path / "whole" / f"{name}.ckpt")
        assert rest.steps == numbers.steps[step:]
        for key, value in whole.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), key


def test_of_several_learners_each_follows_what_is_measured_of_it(tmp_path: Path) -> None:
    alpha = NearTeacher(start=0.9, end=0.1)
    torch.manual_seed(1)
    networks = {"one": nn.Linear(5, 3), "two": nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))}

    def fit(*learners: str) -> DistillationModule:
        terms = {
            "ce": Term(CrossEntropy(), ["student.logits", "target"], Plateau(1.0, 0.5, 0.01, patience=0)),
            "kd": Term(SoftTarget(ByTeacherEntropy(8.0, 1.0, "student.logits")), BOTH, alpha),
        }
        given: Any = {name: copy.deepcopy(networks[name]) for name in learners}
        alone = given if len(learners) > 1 else given[learners[0]]
        module = DistillationModule(alone, teacher(), terms, num_classes=3)
        trainer = lightning.Trainer(
            max_epochs=4, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, callbacks=[SeededBatches(0)],
        )  # fmt: skip
        trainer.fit(module, DataLoader(TRAINING, 8), DataLoader(VALIDATION, 7))
        return module

    together = fit("one", "two")
    for name in networks:
        ours, theirs = together.network_of(name).state_dict(), fit(name).network_of("student").state_dict()
        assert [key for key, value in theirs.items() if not torch.equal(ours[key], value)] == []


class FirstHalf(Curriculum):
    """The first half of the samples, twice."""

    def begin(self, samples: Samples) -> None:
        self.half = len(samples.index) // 2

    def draw(self, epoch: int, count: int) -> Tensor:
        return torch.randperm(count) % self.half


def test_with_a_curriculum_the_teachers_entropy_is_that_of_what_is_taught(tmp_path: Path) -> None:
    module, numbers = train(tmp_path, curriculum=FirstHalf())
    with torch.no_grad():
        share = share_of_entropy(teacher()(INPUTS[:12]))
    assert [step[2] for step in numbers.steps[3:]] == pytest.approx([8.0 - 7.0 * share] * 9, rel=1e-5)
    assert module.assessment is not None
    assert len(module.assessment.by_class["top1"]) == 3
    assert {*module.assessment.by_source} == {"teacher"}


def fitted(weight: Schedule, with_teacher: bool = True, **options: Any) -> None:
    terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"], weight)}
    module = DistillationModule(nn.Linear(5, 3), teacher() if with_teacher else None, terms, num_classes=3)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=1, enable_checkpointing=False, **quiet, **options)  # type: ignore[arg-type]
    trainer.fit(module, DataLoader(TRAINING, 8), DataLoader(VALIDATION, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fitted(NearTeacher(1, 0), limit_val_batches=0), r"^terms\.ce: .*there are no validation data; give"),
        (lambda: fitted(NearTeacher(1, 0, teacher="big")), r"^terms\.ce: .*compares with big, and there is no big"),
        (lambda: fitted(NearTeacher(1, 0, metric="best")), r"^terms\.ce: metric=best: validation measures no such"),
        (lambda: fitted(ByTeacherEntropy(1, 0.5), with_teacher=False), r"^terms\.ce: this term needs a teacher"),
        (lambda: fitted(ByTeacherEntropy(1, 0.5, "best.logits")), r"^terms\.ce\.schedule=best\.logits: "),
    ],
)
def test_what_cannot_be_followed_is_told_in_a_line(make: Callable[[], None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
