"""Losses at the edges: extreme values, one example, equal inputs; the modules and what they refuse."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import AttentionTransfer, CrossEntropy, FitNet, MeanSquaredLogits, SoftTarget, functional

EXTREME = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0.0, -1e4, -1e4]])
PAIRWISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kd": functional.kd,
    "kd T=1": lambda student, teacher: functional.kd(student, teacher, 1.0),
    "mean_squared_logits": functional.mean_squared_logits,
    "fitnet": functional.fitnet,
    "attention_transfer": lambda s, t: functional.attention_transfer([s[:, :, None, None]], [t[:, :, None, None]]),
    "cross_entropy": lambda student, teacher: functional.cross_entropy(student, teacher.argmax(dim=1)),
    "smoothed cross_entropy": lambda student, teacher: functional.cross_entropy(student, teacher.argmax(dim=1), 0.1),
}
pairwise = pytest.mark.parametrize("name", PAIRWISE)


@pairwise
@pytest.mark.parametrize("teacher", [EXTREME, EXTREME.flip(0), -EXTREME], ids=["same", "other", "opposite"])
def test_finite_for_extreme_inputs(name: str, teacher: Tensor) -> None:
    student = EXTREME.clone().requires_grad_()
    value = PAIRWISE[name](student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pairwise
def test_the_batch_counts_by_its_mean(name: str) -> None:
    """A batch of one is allowed, and a batch said twice costs what it costs once."""
    student, teacher = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    each = [PAIRWISE[name](s[None], t[None]).item() for s, t in zip(student, teacher, strict=True)]
    whole = PAIRWISE[name](student, teacher).item()
    assert whole == pytest.approx(sum(each) / len(each))
    assert PAIRWISE[name](student.repeat(2, 1), teacher.repeat(2, 1)).item() == pytest.approx(whole)


@pytest.mark.parametrize("name", ["kd", "kd T=1", "mean_squared_logits", "fitnet", "attention_transfer"])
def test_nothing_to_learn_from_an_equal_teacher(name: str) -> None:
    student = torch.randn(8, 10, requires_grad=True)
    value = PAIRWISE[name](student, student.detach().clone())
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0.0
    assert gradient.abs().max().item() < 1e-6


def test_kd_divides_by_the_batch_not_by_the_classes() -> None:
    """Classes that neither network believes in change nothing."""
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    unlikely = torch.full((4, 97), -1e4)
    padded = functional.kd(torch.cat([student, unlikely], 1), torch.cat([teacher, unlikely], 1))
    assert padded.item() == pytest.approx(functional.kd(student, teacher).item(), rel=1e-5)


def test_kd_keeps_its_gradients_size_at_every_temperature() -> None:
    """T² cancels the 1/T² of the gradient, which tends to (z_s - z_t)/C/B for centred logits (Hinton 2015, eq. 4)."""
    student, teacher = (z - z.mean(1, keepdim=True) for z in torch.randn(2, 4, 10, dtype=torch.float64))
    student.requires_grad_()
    for temperature in (1e3, 1e4):
        (gradient,) = torch.autograd.grad(functional.kd(student, teacher, temperature), student)
        assert torch.allclose(gradient, (student - teacher) / 10 / 4, atol=1 / temperature)


def test_kd_pulls_the_student_towards_the_teacher_and_not_the_reverse() -> None:
    """KL(teacher ‖ student): a class that only the teacher believes in costs much, one only the student does little."""
    one, two = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[9.0, 9.0, 0.0]])
    assert functional.kd(one, two, 1.0).item() > 5 * functional.kd(two, one, 1.0).item()


def test_smoothing_spreads_over_all_classes() -> None:
    logits, target = torch.tensor([[2.0, 0.0, -1.0, 1.0]]), torch.tensor([2])
    smoothed = torch.tensor([[0.05, 0.05, 0.85, 0.05]])
    assert torch.allclose(functional.cross_entropy(logits, target, 0.2), functional.cross_entropy(logits, smoothed))
    assert functional.cross_entropy(logits, target, 0.2) < functional.cross_entropy(logits, target)


def test_attention_compares_where_not_how_much() -> None:
    student, teacher = torch.randn(3, 4, 6, 6), torch.randn(3, 8, 6, 6)
    value = functional.attention_transfer([student], [teacher])
    assert torch.allclose(functional.attention_transfer([7 * student], [teacher / 5]), value)
    assert torch.allclose(functional.attention_transfer([student.flip(1)], [teacher]), value)


def test_attention_of_a_dead_map_is_finite() -> None:
    student = torch.zeros(2, 4, 3, 3, requires_grad=True)
    value = functional.attention_transfer([student], [torch.randn(2, 4, 3, 3)])
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_attention_refuses_lists_of_unequal_length() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        functional.attention_transfer([torch.randn(1, 2, 3, 3)] * 2, [torch.randn(1, 2, 3, 3)])


LOGITS = (torch.randn(4, 6), torch.randn(4, 6))
MAPS = ([torch.randn(2, 3, 4, 4)], [torch.randn(2, 5, 2, 2)])
LABELS = torch.tensor([0, 5, 2, 2])


@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        (SoftTarget(), lambda s, t: functional.kd(s, t, 4.0), LOGITS),
        (SoftTarget(temperature=2), lambda s, t: functional.kd(s, t, 2.0), LOGITS),
        (CrossEntropy(), functional.cross_entropy, (LOGITS[0], LABELS)),
        (CrossEntropy(0.3), lambda z, y: functional.cross_entropy(z, y, 0.3), (LOGITS[0], LABELS)),
        (MeanSquaredLogits(), functional.mean_squared_logits, LOGITS),
        (FitNet(), functional.fitnet, LOGITS),
        (AttentionTransfer(), lambda s, t: functional.attention_transfer(s, t, 2), MAPS),
        (AttentionTransfer(p=4), lambda s, t: functional.attention_transfer(s, t, 4), MAPS),
    ],
)
def test_modules_equal_the_functions(module: nn.Module, function: Callable[..., Tensor], arguments: tuple) -> None:
    assert torch.equal(module(*arguments), function(*arguments))
    assert list(module.state_dict()) == []


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_bad_temperatures(temperature: float) -> None:
    with pytest.raises(UserError, match=f"^temperature={temperature}: must be"):
        SoftTarget(temperature)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_bad_label_smoothing(smoothing: float) -> None:
    with pytest.raises(UserError, match=f"^label_smoothing={smoothing}: must be"):
        CrossEntropy(smoothing)
