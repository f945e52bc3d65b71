"""curriculum=dihcl: hardness, sampling and shrinking against independent computations, and a run taken up exactly."""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule
from kd_lightning.curricula import (
    BetaFlips,
    Difficulty,
    DynamicHardness,
    Paced,
    SampledHard,
    Samples,
    Shrinking,
    UpperConfidence,
)
from kd_lightning.errors import UserError
from kd_lightning.runs.files import CURRICULUM
from kd_lightning.schedules import Progress, TorchSchedule
from tests.conftest import SHORT, Command

EPISODES = (0, 5, 10, 15, 20, 30, 40, 60, 90, 140, 210)  # the epochs of 300 in which the authors' begin


@pytest.mark.parametrize("kind", ["loss", "change", "flip"])
def test_hardness_is_a_running_mean_over_the_times_that_a_sample_was_seen(kind: str) -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(3, (7,), generator=generator)
    hardness = DynamicHardness(kind, decay=0.8)  # type: ignore[arg-type]
    hardness.begin(Samples(torch.arange(7), target))
    mean: dict[int, float] = {}
    last: dict[int, float] = {}
    for _ in range(12):
        batch = torch.randperm(7, generator=generator)[:3]
        logits = 6 * torch.randn(3, 3, generator=generator)
        hardness.observe(batch, {"student.logits": logits, "target": target[batch]})
        for sample, row in zip(batch.tolist(), logits.double(), strict=True):
            label = int(target[sample])
            loss, is_right = -float(row.log_softmax(0)[label]), float(int(row.argmax()) == label)
            now = is_right if kind == "flip" else loss
            changed = min(10.0, abs(now - last.get(sample, now)))
            value = loss if kind == "loss" else changed
            mean[sample] = 0.8 * mean.get(sample, value) + 0.2 * value
            last[sample] = now
    expected = torch.tensor([mean.get(sample, 0.0) for sample in range(7)])
    torch.testing.assert_close(hardness.values, expected, rtol=1e-5, atol=1e-6)
    assert hardness.known().tolist() == [sample in mean for sample in range(7)]


def seen_by(difficulty: Difficulty, rates: Sequence[float]) -> Iterator[tuple[float, list[tuple[int, float, bool]]]]:
    """Show it batches of 3 of 7 samples, a step for each rate; gives each sample's loss, and whether it was right."""
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(3, (7,), generator=generator)
    difficulty.begin(Samples(torch.arange(7), target))
    for rate in rates:
        batch = torch.randperm(7, generator=generator)[:3]
        logits = 6 * torch.randn(3, 3, generator=generator)
        difficulty.learning_rate = rate
        difficulty.observe(batch, {"student.logits": logits, "target": target[batch]})
        rows = zip(batch.tolist(), logits.double(), strict=True)
        labels = target.tolist()
        yield (
            rate,
            [(one, -float(row.log_softmax(0)[labels[one]]), int(row.argmax()) == labels[one]) for one, row in rows],
        )


RATES = (0.1, 0.3, 0.0, 0.2, 0.5, 0.01, 0.2, 0.4, 0.1, 0.7, 0.02, 0.3)


@pytest.mark.parametrize("kind", ["loss", "change", "flip"])
@pytest.mark.parametrize("divided_by", ["learning_rate", "path"])
def test_hardness_is_divided_by_how_far_the_student_moved(kind: str, divided_by: str) -> None:
    hardness = DynamicHardness(kind, decay=0.8, divided_by=divided_by)  # type: ignore[arg-type]
    mean: dict[int, float] = {}
    last: dict[int, float] = {}
    left: dict[int, float] = {}  # the rates of the steps since it was seen
    passed = 0.0
    for rate, seen in seen_by(hardness, RATES):
        passed += rate
        left = {sample: far + rate for sample, far in left.items()}
        for sample, loss, is_right in seen:
            now = float(is_right) if kind == "flip" else loss
            value = loss if kind == "loss" else min(10.0, abs(now - last.get(sample, now)) if sample in mean else 0.0)
            divisor = rate if divided_by == "learning_rate" else left.get(sample, passed)
            if divisor > 0:
                value /= divisor
                mean[sample] = 0.8 * mean.get(sample, value) + 0.2 * value
            last[sample], left[sample] = now, 0.0
    expected = torch.tensor([mean.get(sample, 0.0) for sample in range(7)])
    torch.testing.assert_close(hardness.values, expected, rtol=1e-4, atol=1e-5)
    assert hardness.known().tolist() == [sample in mean for sample in range(7)]


def test_an_upper_bound_is_the_mean_and_more_for_what_was_seen_seldom() -> None:
    bound = UpperConfidence("loss", bonus=0.5, decay=0.9, episodes=[0.2, 0.4, 0.9])
    sums, counts = [0.0] * 7, [0] * 7
    for step, (_, seen) in enumerate(seen_by(bound, RATES)):
        for sample, loss, _ in seen:
            sums[sample] += loss
            counts[sample] += 1
        if step in (4, 7):  # the second and the third episode begin
            ranked = bound.ranked_by(Progress(epoch=step, fraction=step / 16))
            sums = [0.9 * total for total in sums]
            means = [total / max(1, count) for total, count in zip(sums, counts, strict=True)]
            width = math.sqrt(2 * math.log(16))
            expected = [
                mean + 0.5 * sum(means) / 7 * width / math.sqrt(max(1, count))
                for mean, count in zip(means, counts, strict=True)
            ]
            torch.testing.assert_close(ranked.double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-5)
    assert bound.known().tolist() == [count > 0 for count in counts]


def test_flips_are_drawn_from_the_distribution_of_what_was_counted() -> None:
    flips = BetaFlips(prior=2.0, decay=0.9, episodes=[0.5])
    changed, same = [2.0] * 7, [2.0] * 7
    last: dict[int, bool] = {}
    for _, batch in seen_by(flips, RATES * 3):
        for sample, _, is_right in batch:
            if sample in last:
                changed[sample] += is_right != last[sample]
                same[sample] += is_right == last[sample]
            last[sample] = is_right
    first, second = torch.tensor(changed), torch.tensor(same)
    torch.testing.assert_close(flips.values, first / (first + second))
    for progress in (Progress(epoch=1, fraction=0.1), Progress(epoch=6, fraction=0.6)):
        torch.manual_seed(0)
        drawn = torch.stack([flips.ranked_by(progress) for _ in range(4_000)]).double()
        if progress.fraction > 0.5:
            first, second = 0.9 * first, 0.9 * second
        total = (first + second).double()
        mean, variance = first / total, first * second / (total**2 * (total + 1))
        assert ((drawn.mean(0) - mean).abs() < 5 * (variance / 4_000).sqrt()).all()
        torch.testing.assert_close(drawn.var(0), variance, rtol=0.15, atol=0)


def test_shares_are_sampled_as_they_are() -> None:
    difficulty, order = torch.tensor([0.2, 0.6]), SampledHard(sharpness=3.0, relative=False)
    torch.manual_seed(4)
    gumbel = -torch.empty(2).exponential_().log()
    torch.manual_seed(4)
    torch.testing.assert_close(order.rank(difficulty), -(3.0 * difficulty + gumbel))


@pytest.mark.parametrize(
    "difficulty",
    [
        DynamicHardness("change", divided_by="learning_rate"),
        DynamicHardness("loss", divided_by="path"),
        UpperConfidence("change"),
        BetaFlips(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_observed_asks_the_device_for_no_number(difficulty: Difficulty) -> None:
    with FakeTensorMode():
        difficulty.begin(Samples(torch.arange(7), torch.arange(7) % 3))
        difficulty.learning_rate = 0.1
        for batch in (torch.tensor([1, 5, 1]), torch.tensor([5, 2, 0])):
            difficulty.observe(batch, {"student.logits": torch.randn(3, 3), "target": batch % 3})
            assert difficulty.values.shape == (7,)


class Rates(Callback):
    """The learning rate of each step, and that which the curriculum was told."""

    def __init__(self) -> None:
        self.used: list[float] = []
        self.told: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.used.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.told.append(pl_module.followed.curriculum.difficulty.learning_rate)  # type: ignore[union-attr,arg-type]


def test_the_rate_is_that_of_the_step_that_was_taken(tmp_path: Path) -> None:
    images = DataLoader(TensorDataset(torch.randn(12, 4), torch.arange(12) % 3), 3)
    paced = Paced(DynamicHardness(divided_by="learning_rate"), SampledHard(), Shrinking())
    halved = TorchSchedule(make=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), interval="step")
    module = DistillationModule(nn.Linear(4, 3), num_classes=3, curriculum=paced, scheduler=halved)
    rates = Rates()
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    lightning.Trainer(**options, max_epochs=2, callbacks=[rates], default_root_dir=tmp_path).fit(module, images)
    assert rates.told == rates.used
    assert len({*rates.used}) == 8


def test_samples_are_drawn_without_replacement_in_proportion_to_what_is_left() -> None:
    """The probability of an order is the product of each one's share of the samples that are not drawn yet."""
    difficulty, sharpness = torch.tensor([0.2, 0.5, 0.8, 0.5]), 2.0
    order = SampledHard(sharpness, factor=1.0, least=0.1)
    torch.manual_seed(0)
    count = 20_000
    drawn = [tuple(order(difficulty, Samples(torch.arange(4))).tolist()) for _ in range(count)]
    weights = torch.exp(sharpness * difficulty.double() / difficulty.double().mean()).tolist()
    for one in permutations(range(4)):
        probability, left = 1.0, sum(weights)
        for sample in one:
            probability *= weights[sample] / left
            left -= weights[sample]
        deviation = (probability * (1 - probability) / count) ** 0.5
        assert abs(drawn.count(one) / count - probability) < 5 * deviation, one


def test_what_is_equally_hard_or_not_known_is_equally_likely() -> None:
    order = SampledHard()
    torch.manual_seed(1)
    first = [int(order(torch.zeros(3), Samples(torch.arange(3)))[0]) for _ in range(3_000)]
    assert all(abs(first.count(sample) - 1_000) < 150 for sample in range(3))


def test_share_and_sharpness_change_from_episode_to_episode_as_published() -> None:
    pace, order = Shrinking(), SampledHard()
    difficulty = torch.tensor([1.0, 3.0])
    for epoch in range(300):
        episode = sum(begin <= epoch for begin in EPISODES) - 1
        share = 1.0
        for _ in range(episode):
            share = max(share * 0.9, 0.3)
        assert pace(epoch / 300) == pytest.approx(share)
        order.progress = Progress(epoch=epoch, fraction=epoch / 300)
        torch.manual_seed(epoch)
        gumbel = -torch.empty(2).exponential_().log()
        torch.manual_seed(epoch)
        expected = -(max(1.0, 20 * 0.8**episode) * difficulty / 2 + gumbel)
        torch.testing.assert_close(order.rank(difficulty), expected)


@pytest.mark.parametrize(
    "made",
    [
        lambda: DynamicHardness("noise"),  # type: ignore[arg-type]
        lambda: DynamicHardness(divided_by="epochs"),  # type: ignore[arg-type]
        lambda: UpperConfidence(bonus=-1.0),
        lambda: UpperConfidence(decay=0.0),
        lambda: BetaFlips(prior=0.0),
        lambda: SampledHard(sharpness=0.0),
        lambda: SampledHard(episodes=[0.5, 0.2]),
        lambda: Shrinking(rate=1.0),
        lambda: Shrinking(least=0.0),
        lambda: Shrinking(episodes=[0.5, 1.5]),
    ],
)
def test_what_cannot_be_is_refused(made: object) -> None:
    with pytest.raises(UserError):
        made()  # type: ignore[operator]


@pytest.mark.parametrize(
    "given",
    [
        ("dihcl", "curriculum.difficulty.kind=change", "curriculum.difficulty.divided_by=path"),
        pytest.param(("dihcl_ucb", "curriculum.difficulty.episodes=[0.25,0.5]"), marks=pytest.mark.slow),
        pytest.param(("dihcl_beta", "curriculum.difficulty.episodes=[0.25,0.5]"), marks=pytest.mark.slow),
    ],
)
def test_a_run_is_taken_up_exactly_within_an_epoch(command: Command, given: tuple[str, ...]) -> None:
    options = (
        *(*SHORT[1:], "teacher.model=digits_cnn_8", "scratch=false", "trainer.max_epochs=4"),
        *(f"curriculum={given[0]}", *given[1:]),
        "curriculum.pace.episodes=[0.25,0.5]",
    )
    folder = command("kd-train", *options, "hydra.run.dir=whole").folder
    cut = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", cut)
    resumed = command("kd-train", *options, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    whole, cut_weights = (load_file(folder / name / "student.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(value, cut_weights[name]) for name, value in whole.items())
    told = json.loads((folder / "cut" / CURRICULUM).read_text())
    assert [one["values"]["share"] for one in told["epochs"]] == pytest.approx([1, 0.9, 0.81, 0.81], abs=2e-3)
    assert Path(folder / "whole" / CURRICULUM).read_bytes() == Path(folder / "cut" / CURRICULUM).read_bytes()
