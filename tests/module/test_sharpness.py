"""Sharpness-aware minimisation: its steps against a loop of its own, what it leaves alone, what it is refused with."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import EMA, SeededBatches
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.optimizers import SAM, LayerDecay
from tests.conftest import Command

QUIET: Any = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
SGD: Any = partial(torch.optim.SGD, lr=0.2, momentum=0.9, weight_decay=1e-3)


class Asked(nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.count = nn.Linear(8, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return 4 * self.layer(x)


def student(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3)]
    return nn.Sequential(*parts).double()


def module_of(network: nn.Module, optimizer: Any, teacher: nn.Module | None = None) -> DistillationModule:
    terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"], 0.3)}
    if teacher is not None:
        terms["kd"] = Term(SoftTarget(temperature=2), ["student.logits", "teacher.logits"], 0.7)
    return DistillationModule(student=network, teacher=teacher, terms=terms, num_classes=3, optimizer=optimizer)


def batches() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    images, target = torch.rand(60, 8, generator=draw).double(), torch.randint(3, (60,), generator=draw)
    return list(zip(images.split(10), target.split(10), strict=True))


def fitted(module: DistillationModule, *callbacks: Any, **options: Any) -> Trainer:
    images, target = (torch.cat(part) for part in zip(*batches(), strict=True))
    given = [SeededBatches(0), *callbacks]
    trainer = Trainer(
        max_epochs=2, callbacks=given, enable_checkpointing=False, precision="64-true", **QUIET, **options
    )
    trainer.fit(module.double(), DataLoader(TensorDataset(images, target), batch_size=10))
    return trainer


def by_hand(network: nn.Module, teacher: nn.Module, rho: float, clip: float | None) -> None:
    """Two epochs of the same, written anew: the paper's algorithm 1."""
    optimizer = SGD(network.parameters())
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm1d)]
    for images, target in [*batches(), *batches()]:

        def loss(images: Tensor = images, target: Tensor = target) -> Tensor:
            logits, wanted = network(images), (teacher(images) / 2).softmax(1)
            soft = (wanted * (wanted.log() - (logits / 2).log_softmax(1))).sum(1).mean() * 4
            return 0.3 * F.cross_entropy(logits, target) + 0.7 * soft

        gradients = torch.autograd.grad(loss(), list(network.parameters()))
        length = torch.cat([one.flatten() for one in gradients]).norm()
        start = [weight.detach().clone() for weight in network.parameters()]
        with torch.no_grad():
            for weight, gradient in zip(network.parameters(), gradients, strict=True):
                weight += rho * gradient / length
        counts = [part.num_batches_tracked.clone() for part in norms]
        for part in norms:
            part.momentum = 0.0
        optimizer.zero_grad()
        loss().backward()
        for part, count in zip(norms, counts, strict=True):
            part.momentum, part.num_batches_tracked = 0.1, count
        with torch.no_grad():
            for weight, before in zip(network.parameters(), start, strict=True):
                weight.copy_(before)
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()


@pytest.mark.parametrize("clip", [None, 0.05])
def test_steps_are_those_of_the_paper_and_the_teacher_is_asked_once(clip: float | None) -> None:
    torch.manual_seed(3)
    teacher = Asked().double()
    own, expected, plain = student(), student(), student()
    by_hand(expected, copy.deepcopy(teacher), 0.1, clip)
    fitted(module_of(own, SAM(SGD, 0.1), teacher), gradient_clip_val=clip)
    assert teacher.count == 12
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-9, atol=1e-9)
    fitted(module_of(plain, SGD, teacher), gradient_clip_val=clip)
    assert not torch.allclose(plain[0].weight, own[0].weight, rtol=1e-3)


def test_both_passes_draw_the_same_random_numbers() -> None:
    """At hardly any distance the step is the ordinary one, with the dropout of its batch."""
    sharp, plain = student(0.5), student(0.5)
    fitted(module_of(sharp, SAM(SGD, 1e-13)))
    fitted(module_of(plain, SGD))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(sharp.state_dict()[name], value, rtol=1e-9, atol=1e-9)


def test_it_goes_with_rates_by_layer_and_a_moving_average() -> None:
    trainer = fitted(module_of(student(), SAM(LayerDecay(SGD, 0.5), 0.05), Asked()), EMA(decay=0.9))
    assert sorted({group["lr"] for group in trainer.optimizers[0].param_groups}) == [0.1, 0.2]


@pytest.mark.parametrize("rho", [0, -0.1, float("inf"), "far", True])
def test_bad_values_are_refused(rho: Any) -> None:
    with pytest.raises(UserError, match=rf"^sam={rho}: must be above 0"):
        SAM(SGD, rho)


def test_what_has_not_one_gradient_is_refused() -> None:
    with pytest.raises(UserError, match=r"^sam=0.1: .*accumulate_grad_batches=2"):
        fitted(module_of(student(), SAM(SGD, 0.1)), accumulate_grad_batches=2)
    with pytest.raises(UserError, match=r"^sam=0.1: LBFGS"):
        fitted(module_of(student(), SAM(torch.optim.LBFGS, 0.1)))
    several = {"one": student(), "two": student()}
    module = DistillationModule(student=several, num_classes=3, optimizer=SAM(SGD, 0.1))
    with pytest.raises(UserError, match=r"^sam=0.1: .*one, two"):
        fitted(module)


SMALL = ("callbacks.progress_bar=null", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "scratch=false")


def test_a_run_trains_with_it_or_says_why_not(command: Command) -> None:
    teacher = ("teacher.model=digits_cnn_4", "teacher.weights=null")
    done = command("kd-train", *SMALL, *teacher, "student.optimizer.sam=0.05", "hydra.run.dir=run")
    assert done.code == 0, done.errors
    for options, line in (
        (("optimizer.sam=0",), "optimizer.sam=0: must be above 0, such as 0.05; or null"),
        (("optimizer.sam=0.1", "trainer.accumulate_grad_batches=2"), "optimizer.sam=0.1: computes the gradient"),
    ):
        refused = command("kd-train", *SMALL, *teacher, *options)
        assert refused.code == 2
        assert refused.error_lines[0].startswith(f"error: {line}")
