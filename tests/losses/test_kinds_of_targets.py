"""Losses whose targets are numbers, or several labels: limits, shapes, and what PyTorch has of them."""

import math

import pytest
import torch
import torch.nn.functional as F

from kd_lightning.errors import UserError
from kd_lightning.losses import BernoulliKD, BinaryCrossEntropy, MeanAbsoluteError, MeanSquaredError, functional

MASKED = torch.tensor([[math.inf, -math.inf, math.inf, -math.inf]])


def test_bce_of_all_labels_is_that_of_pytorch() -> None:
    logits, target = torch.randn(6, 5), torch.randint(2, (6, 5))
    expected = F.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(functional.bce(logits, target), expected)
    torch.testing.assert_close(functional.bce(logits, target.bool()), expected)
    soft = torch.rand(6, 5)
    torch.testing.assert_close(functional.bce(logits, soft), F.binary_cross_entropy_with_logits(logits, soft))


def test_saturated_logits_cost_nothing_or_all_that_they_are() -> None:
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], requires_grad=True)
    assert functional.bce(logits, torch.tensor([[1, 0, 1, 0]])).item() == 0.0
    value = functional.bce(logits, torch.tensor([[0, 1, 1, 0]]))
    assert value.item() == 5e3
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.tolist() == [[0.25, -0.25, 0.0, 0.0]]
    assert functional.bce(MASKED, torch.tensor([[1, 0, 1, 0]])).item() == 0.0
    assert functional.bce(MASKED, torch.tensor([[1, 1, 1, 0]])).item() == math.inf
    assert functional.bernoulli_kd(MASKED, MASKED).item() == 0.0
    assert functional.bernoulli_kd(-MASKED, MASKED).item() == math.inf


def test_bernoulli_kd_is_bce_with_the_teachers_probabilities_less_their_entropy() -> None:
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    p = teacher.sigmoid()
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean()
    torch.testing.assert_close(functional.bernoulli_kd(student, teacher), functional.bce(student, p) - entropy)


def test_bernoulli_kd_keeps_its_gradients_size_at_every_temperature() -> None:
    """T² cancels the 1/T² of the gradient, which tends to (z_s - z_t)/4 of each class."""
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    student.requires_grad_()
    (gradient,) = torch.autograd.grad(functional.bernoulli_kd(student, teacher, 1e4), student)
    torch.testing.assert_close(gradient, (student - teacher) / 4 / student.numel(), atol=1e-4, rtol=0)


def test_labels_that_are_missing_leave_bce() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    target = torch.tensor([[1, -1, 0, -100], [-1, -1, -1, -1], [0, 1, 1, 0]])
    value = functional.bce(logits, target)
    torch.testing.assert_close(
        value, (functional.bce(logits[:1, [0, 2]], target[:1, [0, 2]]) + functional.bce(logits[2:], target[2:])) / 2
    )
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient != 0).tolist() == (target >= 0).tolist()
    none = functional.bce(logits, torch.full((3, 4), -1.0))
    assert none.item() == 0.0
    assert not torch.autograd.grad(none, logits)[0].any()
    assert BinaryCrossEntropy().counted(logits, target).tolist() == [True, False, True]


def test_a_single_output_takes_targets_without_a_column() -> None:
    outputs, target = torch.randn(5, 1), torch.randint(9, (5,))
    torch.testing.assert_close(functional.mse(outputs, target), F.mse_loss(outputs[:, 0], target.float()))
    torch.testing.assert_close(functional.mae(outputs, target), F.l1_loss(outputs[:, 0], target.float()))
    assert functional.mse(outputs, target, reduction="none").shape == (5,)


@pytest.mark.parametrize("shape", [(5,), (1, 3), (5, 1), (5, 4), (5, 3, 1)])
@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), BinaryCrossEntropy()])
def test_nothing_is_broadcast(loss: torch.nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^target=.*: target of shape .*(5, 3)"):
        loss(torch.randn(5, 3), torch.zeros(shape))


def test_a_temperature_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"^temperature=0: must be a finite number above 0"):
        BernoulliKD(temperature=0)
