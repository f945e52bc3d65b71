"""Losses on logits at the edges: extreme, constant and equal logits, one image, two classes; defects of public code."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from kd_lightning.losses import functional
from tests.losses.case import draw
from tests.losses.oracles import logits as oracle

Loss = Callable[[Tensor, Tensor], Tensor]


def with_target(loss: Callable[..., Tensor]) -> Loss:
    """The label is each image's last class."""
    return lambda student, teacher: loss(student, teacher, torch.full((len(student),), student.shape[1] - 1))


MEANS: dict[str, Loss] = {  # means over the images
    "cross_entropy": lambda student, teacher: functional.cross_entropy(student, teacher.argmax(dim=1)),
    "smoothed cross_entropy": lambda student, teacher: functional.cross_entropy(student, teacher.argmax(dim=1), 0.1),
    "hard_label": functional.hard_label,
    "kd": functional.kd,
    "kd T=1": partial(functional.kd, temperature=1.0),
    "mean_squared_logits": functional.mean_squared_logits,
    "mse": functional.mse,
    "mae": functional.mae,
    "bce": lambda student, teacher: functional.bce(student, (teacher > 0).long()),
    "bernoulli_kd": functional.bernoulli_kd,
    "bernoulli_kd T=4": partial(functional.bernoulli_kd, temperature=4.0),
    "dkd": with_target(functional.dkd),
    "dkd T=1": with_target(partial(functional.dkd, temperature=1.0)),
    "logit_standardization_kd": functional.logit_standardization_kd,
    "wsld": with_target(functional.wsld),
    "ofa": with_target(functional.ofa),
    "ofa eps=1.5": with_target(partial(functional.ofa, eps=1.5)),
    "ofa eps=0.5": with_target(partial(functional.ofa, eps=0.5)),
    "cs_kd": with_target(functional.cs_kd),
    "ddgsd": functional.ddgsd,
}
OVER_THE_BATCH: dict[str, Loss] = {
    "dist": functional.dist,
    "dist T=4": partial(functional.dist, temperature=4.0),
    "class_correlation": functional.class_correlation,
    "batch_correlation": functional.batch_correlation,
    "mlkd": lambda student, teacher: functional.mlkd(student, teacher, student.flip(1), teacher.flip(1)),
}
LOSSES = MEANS | OVER_THE_BATCH
CROSS_ENTROPIES = {
    "cross_entropy",
    "smoothed cross_entropy",
    "hard_label",
    "wsld",
    "ofa",
    "ofa eps=1.5",
    "ofa eps=0.5",
    "bce",
}
ZERO_FOR_EQUALS = [name for name in LOSSES if name not in CROSS_ENTROPIES | {"dist", "dist T=4"}]
EXTREME = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0.0, -1e4, -1e4]])
every_loss = pytest.mark.parametrize("name", LOSSES)


def value_and_gradient(name: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    value = LOSSES[name](student, teacher)
    return value, torch.autograd.grad(value, student)[0]


@every_loss
@pytest.mark.parametrize("teacher", [EXTREME, EXTREME.flip(0), -EXTREME], ids=["same", "other", "opposite"])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 1)], ids=["batch", "one image"])
@pytest.mark.parametrize("columns", [slice(None), slice(0, 2)], ids=["classes", "two classes"])
def test_finite_for_extreme_logits(name: str, teacher: Tensor, rows: slice, columns: slice) -> None:
    value, gradient = value_and_gradient(name, EXTREME[rows, columns], teacher[rows, columns])
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("constant", [0.0, 3.1, 1e4 / 3])
@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 2), (1, 2)])
def test_finite_for_constant_logits(name: str, constant: float, shape: tuple[int, int]) -> None:
    flat, other = torch.full(shape, constant), torch.randn(shape)
    for student, teacher in ((flat, other), (other, flat), (flat, flat)):
        value, gradient = value_and_gradient(name, student, teacher)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", MEANS)
def test_the_batch_counts_by_its_mean(name: str) -> None:
    """A batch of one is allowed, and a batch said twice costs what it costs once."""
    student, teacher = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    each = [MEANS[name](s[None], t[None]).item() for s, t in zip(student, teacher, strict=True)]
    whole = MEANS[name](student, teacher).item()
    assert whole == pytest.approx(sum(each) / len(each))
    assert MEANS[name](student.repeat(2, 1), teacher.repeat(2, 1)).item() == pytest.approx(whole)


@pytest.mark.parametrize("name", ZERO_FOR_EQUALS)
@pytest.mark.parametrize("shape", [(8, 10), (8, 2)])
def test_nothing_to_learn_from_an_equal_teacher(name: str, shape: tuple[int, int]) -> None:
    student = torch.randn(shape)
    value, gradient = value_and_gradient(name, student, student.clone())
    assert value.item() == 0.0
    assert gradient.abs().max().item() < 1e-5


def test_dist_of_equals_is_zero_up_to_its_epsilon() -> None:
    student = torch.eye(6, dtype=torch.float64)[[0, 1, 2, 3, 4, 5, 0]] * 5
    student.requires_grad_()
    value = functional.dist(student, student.detach().clone())
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert gradient.abs().max().item() < 1e-6


@pytest.mark.parametrize("name", ["wsld", "hard_label", "ofa"])
def test_cross_entropies_with_the_teacher_are_not_zero_for_equals(name: str) -> None:
    student = torch.randn(8, 10)
    assert value_and_gradient(name, student, student.clone())[0] > 0.1


def test_kd_divides_by_the_batch_not_by_the_classes() -> None:
    """Classes that neither network believes in change nothing."""
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    unlikely = torch.full((4, 97), -1e4, dtype=torch.float64)
    padded = functional.kd(torch.cat([student, unlikely], 1), torch.cat([teacher, unlikely], 1))
    torch.testing.assert_close(padded, functional.kd(student, teacher))


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


def test_the_hard_label_is_one_class_and_the_mean_is_over_images() -> None:
    """Not over images times classes, as in the soft variant that DeiT's code divides by the number of elements."""
    student, teacher = torch.randn(3, 50), torch.randn(3, 50)
    decisions = functional.cross_entropy(student, teacher.argmax(1))
    assert functional.hard_label(student, teacher) == decisions == functional.hard_label(student, 100 * teacher)


@pytest.mark.parametrize("gap", [120.0, 2000.0])
def test_dkd_of_a_wide_gap(gap: float) -> None:
    """log(softmax) is -inf here. The label's class against the rest costs the gap, the rest among itself nothing."""
    student = torch.tensor([[0.0, gap, gap]], requires_grad=True)
    value = functional.dkd(student, torch.tensor([[gap, 0.0, 0.0]]), torch.tensor([0]), 1.0, 8.0, 1.0)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(gap + math.log(2), rel=1e-5)
    assert torch.allclose(gradient, torch.tensor([[-1.0, 0.5, 0.5]]), atol=1e-3)  # float32's step at 2000


def test_dkd_at_beta_one_minus_the_label_is_kd() -> None:
    """KL = KL of the binary part + (1 - p_t of the label)·KL of the rest (Zhao 2022, eq. 4)."""
    (student, teacher), target = torch.randn(2, 1, 7, dtype=torch.float64), torch.tensor([2])
    rest = 1 - (teacher / 4).softmax(1)[0, 2].item()
    torch.testing.assert_close(functional.dkd(student, teacher, target, 1.0, rest), functional.kd(student, teacher))


def test_dkd_of_two_classes_has_no_rest() -> None:
    student, teacher = torch.randn(2, 4, 2, dtype=torch.float64)
    target = torch.tensor([0, 1, 1, 0])
    assert functional.dkd(student, teacher, target, alpha=0.0).item() == 0.0
    torch.testing.assert_close(functional.dkd(student, teacher, target), functional.kd(student, teacher))


def test_dkd_refuses_mixed_labels() -> None:
    with pytest.raises(ValueError, match=r"class indices \(B,\).*\(4, 6\)"):
        functional.dkd(torch.randn(4, 6), torch.randn(4, 6), torch.rand(4, 6))


def test_dist_is_free_of_the_probabilities_scale() -> None:
    """Rows match where p_s is a·p_t + b: here b = (1-a)/C keeps the sum at 1."""
    p = torch.rand(4, 6, dtype=torch.float64)
    p = p / p.sum(1, keepdim=True)
    closer = 0.3 * p + 0.7 / 6
    assert functional.dist(closer.log(), p.log()).item() == pytest.approx(0.0, abs=1e-4)
    assert functional.dist(p.flip(1).log(), p.log()) > 0.1


def test_dist_of_one_image_has_constant_columns() -> None:
    student, teacher = torch.randn(1, 6), torch.randn(1, 6)
    assert functional.dist(student, teacher, beta=0.0, gamma=2.0, temperature=3.0).item() == 18.0


def test_dists_columns_depend_on_the_batch() -> None:
    student, teacher = torch.randn(8, 6), torch.randn(8, 6)
    whole = functional.dist(student, teacher, beta=0.0)
    halves = [functional.dist(s, t, beta=0.0) for s, t in zip(student.split(4), teacher.split(4), strict=True)]
    assert not torch.allclose(torch.stack(halves).mean(), whole, rtol=1e-3)


def test_standardized_logits() -> None:
    z = functional.standardize(7 + 100 * torch.randn(5, 9, dtype=torch.float64))
    assert torch.allclose(z.mean(1), torch.zeros(5, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(z.std(1, correction=1), torch.ones(5, dtype=torch.float64), atol=1e-6)
    assert functional.standardize(torch.zeros(2, 4)).abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_wsld_weighs_without_a_gradient(dtype: torch.dtype) -> None:
    student, teacher = (torch.from_numpy(draw(5, 7, seed=seed)).to(dtype) for seed in (3, 4))
    target = torch.tensor([3, 0, 6, 6, 1])
    student.requires_grad_()
    value = functional.wsld(student, teacher, target, 3.0)
    (gradient,) = torch.autograd.grad(value, student)
    expected = oracle.wsld(student.detach().double().numpy(), teacher.double().numpy(), target.numpy(), 3.0)
    assert value.item() == pytest.approx(expected, rel=1e-9 if dtype == torch.float64 else 1e-5)
    hard = [torch.nn.functional.cross_entropy(z.detach(), target, reduction="none") for z in (student, teacher)]
    weight = 1 - torch.exp(-hard[0] / hard[1])
    slope = 3.0 * weight[:, None] * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / 5
    assert torch.allclose(gradient, slope, atol=1e-6)


def test_wsld_trusts_a_teacher_that_does_better() -> None:
    sure, unsure, target = torch.tensor([[60.0, 0.0]]), torch.tensor([[-6.0, 0.0]]), torch.tensor([0])
    soft = 4 * torch.nn.functional.cross_entropy(unsure / 2, (sure / 2).softmax(1))
    assert functional.wsld(unsure, sure, target).item() == pytest.approx(soft.item(), rel=1e-5)
    assert functional.wsld(sure, unsure, target).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("eps", [0.5, 1.0, 1.5])
def test_ofa_of_probabilities_that_are_zero(eps: float) -> None:
    """A teacher sure of the label asks for (2^ε - 1) times the label's cross-entropy, and for nothing else."""
    student, teacher = torch.randn(3, 4), torch.tensor([[1e4, 0.0, 0.0, 0.0]]).expand(3, 4)
    expected = (2**eps - 1) * functional.cross_entropy(student, torch.zeros(3, dtype=torch.long))
    value = functional.ofa(student, teacher, torch.zeros(3, dtype=torch.long), eps)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_ofa_takes_the_largest_of_mixed_labels() -> None:
    student, teacher, mixed = torch.randn(3, 4), torch.randn(3, 4), torch.rand(3, 4)
    values = [functional.ofa(student, teacher, target, 1.5) for target in (mixed, mixed.argmax(1))]
    assert torch.equal(*values)


@pytest.mark.gpu
@every_loss
def test_nothing_asks_the_device_for_a_number(name: str) -> None:
    student, teacher = (torch.randn(8, 10, device="cuda", requires_grad=grad) for grad in (True, False))
    with torch.device("cuda"):
        torch.cuda.set_sync_debug_mode("error")
        try:
            LOSSES[name](student, teacher).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert student.grad is not None
