"""curriculum=dihcl: hardness, sampling and shrinking against independent computations, and a run taken up exactly."""

import json
from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning.curricula import DynamicHardness, SampledHard, Samples, Shrinking
from kd_lightning.errors import UserError
from kd_lightning.runs.files import CURRICULUM
from kd_lightning.schedules import Progress
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


def test_a_run_is_taken_up_exactly_within_an_epoch(command: Command) -> None:
    options = (
        *(*SHORT[1:], "teacher.model=digits_cnn_8", "scratch=false", "trainer.max_epochs=4", "curriculum=dihcl"),
        "curriculum.pace.episodes=[0.25,0.5]",
        "curriculum.difficulty.kind=change",
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
