"""The length of a training, whatever limits it: the learning rate, weight and progress of each step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler, ModelCheckpoint
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy
from kd_lightning.schedules.learning_rate import Cosine, LearningRateSchedule, Step
from kd_lightning.schedules.progress import Linear, Progress, Warmup
from kd_lightning.schedules.torch_schedule import TorchSchedule
from tests.conftest import Command
from tests.module.test_module import trainer

BATCHES = 7  # in a loader
DATA = [(torch.rand(2, 3), torch.tensor([0, 1])) for _ in range(BATCHES)]
HALF = Step(milestones=[0.5])


class WithoutLength(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of whose number nobody knows before they are over."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from DATA


def loader(sized: bool = True) -> Any:
    if not sized:
        return DataLoader(WithoutLength(), batch_size=None)
    inputs, targets = (torch.cat(part) for part in zip(*DATA, strict=True))
    return DataLoader(TensorDataset(inputs, targets), batch_size=2)


@dataclass
class Course(Callback):
    """What each optimizer step was taken with."""

    rates: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        assert isinstance(pl_module, DistillationModule)
        now = pl_module.progress()
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.progress.append(now)
        self.weights.append(next(iter(pl_module.objective.weights(now).values())))


def fit(
    folder: Path, scheduler: Any = None, *, sized: bool = True, weight: Any = 1.0, resume: Any = None, **limits: Any
) -> Course:
    """Train a linear layer at a learning rate of 1, within these limits."""
    course, callbacks = Course(), limits.pop("callbacks", [])
    module = DistillationModule(
        nn.Linear(3, 2),
        terms={"ce": Term(CrossEntropy(), ["student.logits", "target"], weight)},
        optimizer=partial(torch.optim.SGD, lr=1.0),
        scheduler=scheduler,
    )
    run = trainer(folder, **{"max_epochs": None, **limits}, callbacks=[course, *callbacks])
    run.fit(module, loader(sized), ckpt_path=resume, weights_only=True)
    assert all(0 <= now.fraction <= 1 for now in course.progress)
    return course


# Limits, then the optimizer steps of each epoch that is begun.
LIMITS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "epochs": ({"max_epochs": 3}, [7, 7, 7]),
    "steps that end with an epoch": ({"max_steps": 14}, [7, 7]),
    "steps that end within an epoch": ({"max_steps": 24, "max_epochs": -1}, [7, 7, 7, 3]),
    "less than an epoch": ({"max_steps": 4}, [4]),
    "steps before epochs": ({"max_steps": 10, "max_epochs": 40}, [7, 3]),
    "epochs before steps": ({"max_steps": 1000, "max_epochs": 2}, [7, 7]),
    "part of each epoch": ({"max_epochs": 3, "limit_train_batches": 0.6}, [4, 4, 4]),
    "part of each epoch, by steps": ({"max_steps": 9, "limit_train_batches": 4}, [4, 4, 1]),
    "accumulated, with a rest": ({"max_epochs": 3, "accumulate_grad_batches": 3}, [3, 3, 3]),
    "accumulated, by steps": ({"max_steps": 7, "accumulate_grad_batches": 3}, [3, 3, 1]),
    "accumulated over more than an epoch": ({"max_epochs": 3, "accumulate_grad_batches": 9}, [1, 1, 1]),
    "accumulated ever more": (
        {"max_epochs": 4, "callbacks": [GradientAccumulationScheduler({1: 2, 3: 7})]},
        [7, 4, 4, 1],
    ),
    "epochs beside a time": ({"max_epochs": 2, "max_time": "00:01:00:00"}, [7, 7]),
    "steps beside a time": ({"max_steps": 9, "max_time": "00:01:00:00"}, [7, 2]),
    "as if it were three batches": ({"max_epochs": 2, "overfit_batches": 3}, [3, 3]),
}


def by_epoch(epochs: list[int], factors: list[float]) -> list[float]:
    return [factor for steps, factor in zip(epochs, factors, strict=True) for _ in range(steps)]


@pytest.mark.parametrize("case", LIMITS)
def test_schedules_see_the_length_that_the_training_has(tmp_path: Path, case: str) -> None:
    limits, epochs = LIMITS[case]
    steps, count = sum(epochs), len(epochs)
    cosine = [(1 + math.cos(math.pi * epoch / count)) / 2 for epoch in range(count)]
    course = fit(tmp_path, Cosine(interval="epoch"), weight=Warmup(8.0, 4), **limits)
    assert course.rates == pytest.approx(by_epoch(epochs, cosine))
    assert course.weights == pytest.approx(by_epoch(epochs, [2.0 * min(4, epoch + 1) for epoch in range(count)]))
    course = fit(tmp_path, Cosine(interval="step"), weight=Linear(0.0, 1.0), **limits)
    assert course.rates == pytest.approx([(1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)])
    assert course.weights == pytest.approx([step / steps for step in range(steps)])
    assert [math.floor(now.epoch + 1e-9) for now in course.progress] == by_epoch(epochs, list(range(count)))


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_milestones_and_warmups_fall_where_they_should(tmp_path: Path, interval: Any) -> None:
    course = fit(tmp_path, Step(interval=interval, milestones=[0.5], warmup=0.25), max_steps=28, max_epochs=-1)
    by_step = [(step + 1) / 8 if step < 7 else 1.0 if step < 14 else 0.1 for step in range(28)]
    expected = by_step if interval == "step" else by_epoch([7] * 4, [0.5, 1.0, 0.1, 0.1])
    assert course.rates == pytest.approx(expected)


def test_a_loader_without_length_takes_its_length_from_the_limits(tmp_path: Path) -> None:
    by_steps = fit(tmp_path, Cosine(interval="step"), sized=False, weight=Linear(0.0, 1.0), max_steps=10)
    assert by_steps.rates == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])
    assert by_steps.weights == pytest.approx([step / 10 for step in range(10)])
    by_epochs = fit(tmp_path, HALF, sized=False, weight=Warmup(2.0, 2), max_epochs=2)
    assert by_epochs.rates == pytest.approx([1.0] * 7 + [0.1] * 7)
    assert by_epochs.weights == pytest.approx([1.0] * 7 + [2.0] * 7)
    assert [now.fraction for now in by_epochs.progress] == [0.0] * 7 + [0.5] * 7
    limited = fit(tmp_path, Cosine(interval="epoch"), sized=False, max_steps=8, limit_train_batches=4)
    assert limited.rates == pytest.approx([1.0] * 4 + [0.5] * 4)


@pytest.mark.parametrize(
    ("schedule", "limits", "remedy"),
    [
        (Cosine(interval="step"), {"max_epochs": 2}, "interval epoch with trainer.max_epochs alone"),
        (HALF, {"max_steps": 8}, "interval step with trainer.max_steps alone, or give trainer.limit_train_batches"),
        (HALF, {"max_steps": 8, "max_epochs": 40}, "interval step with trainer.max_steps"),
    ],
)
def test_a_length_that_nobody_knows_is_refused(tmp_path: Path, schedule: Any, limits: Any, remedy: str) -> None:
    with pytest.raises(UserError, match=f"scheduler.interval={schedule.interval}: .*{remedy}"):
        fit(tmp_path, schedule, sized=False, **limits)


class Stop(Callback):
    """Ends a training without end."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 16


@pytest.mark.parametrize(
    "schedule", [None, LearningRateSchedule(), Step(milestones=[])], ids=["none", "constant", "no step"]
)
@pytest.mark.parametrize("sized", [True, False])
def test_without_end_what_needs_no_length_goes_on(tmp_path: Path, schedule: Any, sized: bool) -> None:
    course = fit(tmp_path, schedule, sized=sized, weight=Warmup(3.0, 3), max_epochs=-1, callbacks=[Stop()])
    assert course.rates == [1.0] * 16
    assert course.weights == pytest.approx(by_epoch([7, 7, 2], [1.0, 2.0, 3.0]))
    assert {now.fraction for now in course.progress} == {0.0}


class OwnSchedule:
    """A weight of somebody's own."""

    def __call__(self, progress: Progress) -> float:
        return 1.0 + progress.epoch if progress.epoch > 3 else progress.fraction


@pytest.mark.parametrize(
    ("schedule", "weight", "words"),
    [
        (LearningRateSchedule(warmup=0.1), 1.0, "scheduler=LearningRateSchedule with warmup 0.1 depends on it"),
        (Cosine(), 1.0, "scheduler=Cosine depends on it"),
        (HALF, 1.0, "scheduler=Step depends on it"),
        (None, Linear(0.0, 1.0), "terms.ce changes over the whole of it"),
        (None, OwnSchedule(), "terms.ce changes over the whole of it"),
    ],
)
def test_without_end_what_needs_the_length_is_refused(tmp_path: Path, schedule: Any, weight: Any, words: str) -> None:
    with pytest.raises(
        UserError, match=rf"^trainer.max_epochs=-1: .*{words}.*; give trainer.max_epochs or trainer.max_st"
    ):
        fit(tmp_path, schedule, weight=weight, max_epochs=-1)


@pytest.mark.parametrize("schedule", [Cosine(interval="epoch"), Cosine(interval="step")], ids=["epoch", "step"])
@pytest.mark.parametrize("limits", [{"max_epochs": 3}, {"max_steps": 19, "max_epochs": -1}], ids=["epochs", "steps"])
def test_a_resumed_training_goes_on_at_the_same_rates(tmp_path: Path, schedule: Any, limits: dict[str, Any]) -> None:
    saved = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = fit(tmp_path, schedule, **limits, callbacks=[saved], enable_checkpointing=True)
    for epoch in (0, 1):
        resumed = fit(tmp_path, schedule, **limits, resume=tmp_path / f"epoch={epoch}.ckpt")
        later = whole.progress[7 * epoch + 7 :]
        assert resumed.rates == pytest.approx(whole.rates[7 * epoch + 7 :])
        assert [now.fraction for now in resumed.progress] == pytest.approx([now.fraction for now in later])


def one_cycle(total: int, **options: Any) -> Any:
    return partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=total, **options)


def expected_of(make: Any, steps: int) -> list[float]:
    """The learning rates of a scheduler that is stepped after each of so many steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def warmed_up(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    warm, cosine = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(optimizer, 10)
    return lr_scheduler.SequentialLR(optimizer, [warm, cosine], [4])


def decayed(optimizer: torch.optim.Optimizer, num_training_steps: int) -> lr_scheduler.LRScheduler:
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / num_training_steps)


@pytest.mark.parametrize(
    "make",
    [
        one_cycle(14, cycle_momentum=False),
        one_cycle(20, cycle_momentum=False),
        partial(lr_scheduler.CyclicLR, base_lr=0.1, max_lr=1.0, step_size_up=3, cycle_momentum=False),
        partial(lr_scheduler.CosineAnnealingLR, T_max=14),
        partial(lr_scheduler.LinearLR, start_factor=0.5, total_iters=14),
        warmed_up,
        partial(decayed, num_training_steps=14),
    ],
)
def test_a_plain_scheduler_that_counts_steps_is_stepped_by_steps(tmp_path: Path, make: Any) -> None:
    assert fit(tmp_path, make, max_epochs=2).rates == pytest.approx(expected_of(make, 14))


@pytest.mark.parametrize(
    "make",
    [
        partial(lr_scheduler.StepLR, step_size=1),
        partial(lr_scheduler.ExponentialLR, gamma=0.5),
        partial(lr_scheduler.CosineAnnealingLR, T_max=2),
        partial(lr_scheduler.CosineAnnealingLR, T_max=200),  # a part of a longer training
    ],
)
def test_any_other_is_stepped_by_epochs(tmp_path: Path, make: Any) -> None:
    assert fit(tmp_path, make, max_epochs=2).rates == pytest.approx(by_epoch([7, 7], expected_of(make, 2)))


def test_the_interval_can_be_given(tmp_path: Path) -> None:
    make = partial(lr_scheduler.ExponentialLR, gamma=0.5)
    course = fit(tmp_path, TorchSchedule(make=make, interval="step"), max_epochs=2)
    assert course.rates == pytest.approx(expected_of(make, 14))
    course = fit(
        tmp_path, TorchSchedule(make=partial(lr_scheduler.LinearLR, total_iters=5), interval="epoch"), max_epochs=2
    )
    assert course.rates == pytest.approx(by_epoch([7, 7], [1 / 3, 1 / 3 + 2 / 15]))


def test_a_plateau_is_watched_for(tmp_path: Path) -> None:
    make = partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=1e9, threshold_mode="abs")
    course = fit(tmp_path, TorchSchedule(make=make, monitor="train/loss"), max_epochs=3)
    assert course.rates == pytest.approx(by_epoch([7, 7, 7], [1.0, 1.0, 0.1]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            partial(lr_scheduler.LinearLR, total_iters=5),
            "LinearLR: counts to 5, beyond the 2 epochs .* interval step or",
        ),
        (partial(lr_scheduler.MultiStepLR, milestones=[6, 9]), "MultiStepLR: counts to 9, beyond the 2 epochs"),
        (partial(lr_scheduler.StepLR, step_size=5), "StepLR: counts to 5, beyond the 2 epochs"),
        (one_cycle(10, cycle_momentum=False), "total_steps=10: .*; give total_steps=14"),
        (lr_scheduler.ReduceLROnPlateau, "ReduceLROnPlateau: watches a metric; give it .* with monitor"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"^scheduler[.=]{words}"):
        fit(tmp_path, make, max_epochs=2)


# As a user meets it.

SHORT = ("teacher=none", "data.train_samples=128", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu")


def logged_rates(folder: Path) -> list[float]:
    import csv

    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    return [float(row[name]) for row in rows for name in row if name.startswith("lr") and row[name]]


def test_epochs_are_counted_beside_max_steps(command: Command) -> None:
    outcome = command("kd-train", *SHORT, "trainer.max_steps=6", "scheduler=cosine", "scheduler.interval=epoch")
    assert outcome.code == 0, outcome.errors
    assert logged_rates(outcome.run) == pytest.approx([0.05] * 2 + [0.0375] * 2 + [0.0125] * 2)


def test_a_constant_rate_runs_until_the_time_is_up(command: Command) -> None:
    unlimited = ("trainer.max_epochs=-1", "+trainer.max_time=00:00:00:01")
    outcome = command("kd-train", *SHORT, *unlimited, "scheduler=constant", "trainer.limit_val_batches=1")
    assert outcome.code == 0, outcome.errors
    assert set(logged_rates(outcome.run)) == {0.05}


LINEAR = "{_target_: kd_lightning.schedules.Linear, start: 0, end: 1}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "scheduler=Cosine depends on it"),
        (["trainer.max_epochs=null", "scheduler=step"], "scheduler=Step depends on it"),
        (["scheduler=constant", "scheduler.warmup=0.1"], "with warmup 0.1"),
        (["scheduler=constant", f"loss.ce.weight={LINEAR}"], "loss.ce changes over the whole of it"),
    ],
)
def test_a_length_that_is_needed_is_asked_for_before_anything_is_trained(
    command: Command, options: list[str], words: str
) -> None:
    outcome = command("kd-train", "trainer.max_epochs=-1", "+trainer.max_time=00:00:00:01", *options)
    assert outcome.code == 2
    assert words in outcome.error_lines[0]
    assert "give trainer.max_epochs or trainer.max_steps" in outcome.error_lines[0]
    assert not (outcome.folder / "outputs").exists()


PLAIN = {
    "one_cycle": ("{_target_: torch.optim.lr_scheduler.OneCycleLR, _partial_: true, max_lr: 0.1, total_steps: TOTAL}"),
    "plateau": ("{_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, _partial_: true}"),
}


def test_a_scheduler_of_torch_in_a_config_of_ones_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "conf" / "scheduler").mkdir(parents=True)
    for name, text in PLAIN.items():
        (tmp_path / "conf" / "scheduler" / f"{name}.yaml").write_text(text.replace("TOTAL", "4"))
    options = ("--config-dir", "conf", *SHORT, "trainer.max_epochs=2")
    assert command("kd-train", *options, "scheduler=one_cycle").code == 0
    refused = command("kd-train", *options, "scheduler=one_cycle", "scheduler.total_steps=3")
    assert refused.code == 2
    assert "scheduler.total_steps=3" in refused.error_lines[0]
    assert "give total_steps=4" in refused.error_lines[0]
    assert "with monitor" in command("kd-train", *options, "scheduler=plateau").error_lines[0]
    (tmp_path / "conf" / "scheduler" / "watched.yaml").write_text(
        "{_target_: kd_lightning.schedules.TorchSchedule, monitor: val/nll, make: " + PLAIN["plateau"] + "}"
    )
    assert command("kd-train", *options, "scheduler=watched").code == 0
    on_test_data = command("kd-train", *options, "scheduler=watched", "data.val_fraction=0")
    assert on_test_data.code == 2
    assert "scheduler.monitor=val/nll would set the learning rate by the test set" in on_test_data.error_lines[0]
