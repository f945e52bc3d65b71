"""EA-KD and EA-DKD as a command composes them, over several steps, against the published formulas by themselves."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.experiment.checks.config import check
from kd_lightning.schedules import Progress
from tests.cli.test_configs import composed
from tests.experiment.steps import trainings

PAIR = ("student.model=digits_cnn_4", "teacher.model=digits_cnn_8")
CHANCE = torch.Generator().manual_seed(0)
IMAGES = torch.randn(16, 6, generator=CHANCE, dtype=torch.float64)
TARGET = torch.randint(10, (16,), generator=CHANCE)
TEACHER = 4 * torch.randn(16, 10, generator=CHANCE, dtype=torch.float64)
START = torch.randn(6, 10, generator=CHANCE, dtype=torch.float64)
Loss = Callable[[Tensor, float], Tensor]


def entropy(logits: Tensor) -> Tensor:
    p = torch.exp(logits / 3) / torch.exp(logits / 3).sum(dim=1, keepdim=True)
    return -(p * p.log()).sum(dim=1)


def counts(student: Tensor, divisor: float) -> Tensor:
    both = entropy(TEACHER) + entropy(TEACHER) * entropy(student.detach()) / divisor
    return both / 2


def divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum(dim=1)


def cross_entropy(student: Tensor) -> Tensor:
    return -(student - student.logsumexp(dim=1, keepdim=True))[torch.arange(len(TARGET)), TARGET].mean()


def ea_kd(student: Tensor, epoch: float, divisor: float = 100.0) -> Tensor:
    each = 16 * divergence(F.softmax(TEACHER / 4, dim=1), F.softmax(student / 4, dim=1))
    return 0.1 * cross_entropy(student) + 0.9 * (counts(student, divisor) * each).mean()


def ea_kd_of_the_paper(student: Tensor, epoch: float) -> Tensor:
    return ea_kd(student, epoch, divisor=math.log(10))


def ea_dkd(student: Tensor, epoch: float) -> Tensor:
    label = F.one_hot(TARGET, 10).bool()
    p, q = F.softmax(TEACHER / 4, dim=1), F.softmax(student / 4, dim=1)
    p_label, q_label = (one[label][:, None] for one in (p, q))
    target = divergence(torch.cat([p_label, 1 - p_label], dim=1), torch.cat([q_label, 1 - q_label], dim=1))
    others = [one[~label].view(len(one), 9) / (1 - one[label][:, None]) for one in (p, q)]
    each = 16 * (target + 8 * divergence(*others))
    warmup = min(1.0, (math.floor(epoch) + 1) / 20)
    return cross_entropy(student) + warmup * (counts(student, 100.0) * each).mean()


@pytest.mark.parametrize(
    ("overrides", "published"),
    [
        (["method=ea_kd"], ea_kd),
        (["method=ea_kd", "loss.kd.sample_weight.divisor=null"], ea_kd_of_the_paper),
        (["method=ea_dkd"], ea_dkd),
    ],
)
def test_five_steps_are_those_of_the_published_formula(overrides: list[str], published: Loss) -> None:
    objective = trainings(check(composed(*overrides, *PAIR)))["student"][1].objective
    ours, theirs = START.clone().requires_grad_(), START.clone().requires_grad_()
    for step in range(5):
        epoch = 5.0 * step
        signals = {"student.logits": IMAGES @ ours, "teacher.logits": TEACHER, "target": TARGET}
        totals = objective(signals, Progress(epoch=epoch, fraction=step / 5)).total, published(IMAGES @ theirs, epoch)
        torch.testing.assert_close(*totals, rtol=1e-9, atol=1e-9)
        for weights, total in zip((ours, theirs), totals, strict=True):
            (gradient,) = torch.autograd.grad(total, weights)
            weights.data -= 0.1 * gradient
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert (ours - START).abs().max() > 0.01


@pytest.mark.parametrize(("method", "term", "temperature"), [("ea_kd", "kd", 2.0), ("ea_dkd", "dkd", 3.0)])
def test_on_imagenet_the_divisor_is_the_papers(method: str, term: str, temperature: float) -> None:
    weight = composed(f"method=imagenet/{method}", *PAIR).loss[term].sample_weight
    assert (weight.temperature, weight.divisor) == (temperature, None)
