"""Classes masked with -inf in the logits: the values over the classes that are left, and gradients that are finite."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from kd_lightning.losses import CurriculumTemperature, functional

TARGET = torch.tensor([0, 1, 2, 1])
SMOOTH = torch.tensor([[0.7, 0.1, 0.2], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4], [0.5, 0.5, 0.0]], dtype=torch.float64)
Loss = Callable[[Tensor, Tensor], Tensor]


def mlkd_of_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """Its part that the count of classes changes, the shares and 1/C, left out."""
    return functional.kd(student, teacher, 2.0) + functional.batch_correlation(student, teacher, 2.0)


def padded(target: Tensor, student: Tensor) -> Tensor:
    """Probabilities with 0 for the further classes of the student."""
    return torch.nn.functional.pad(target, (0, student.shape[1] - target.shape[1]))


LEFT: dict[str, Loss] = {  # over some classes what they are over these alone
    "kd": functional.kd,
    "kd T=1": partial(functional.kd, temperature=1.0),
    "dkd": lambda s, t: functional.dkd(s, t, TARGET),
    "ls": functional.logit_standardization_kd,
    "wsld": lambda s, t: functional.wsld(s, t, TARGET),
    "wsld of mixed labels": lambda s, t: functional.wsld(s, t, padded(SMOOTH, s)),
    "ofa": lambda s, t: functional.ofa(s, t, TARGET, 1.5),
    "ofa eps<1": lambda s, t: functional.ofa(s, t, TARGET, 0.5),
    "cs_kd": lambda s, t: functional.cs_kd(s, t, TARGET),
    "hard_label": functional.hard_label,
    "cross_entropy": lambda s, t: functional.cross_entropy(s, TARGET),
    "cross_entropy of mixed labels": lambda s, t: functional.cross_entropy(s, padded(SMOOTH, s)),
    "kd and batch_correlation": mlkd_of_kd,
}
ALSO: dict[str, Loss] = {  # those that count the classes
    "dist": functional.dist,
    "dist T=4": partial(functional.dist, temperature=4.0),
    "bernoulli_kd": functional.bernoulli_kd,
    "bce": lambda s, t: functional.bce(s, torch.zeros(s.shape)),
    "class_correlation": functional.class_correlation,
    "mlkd": lambda s, t: functional.mlkd(s, t, s.flip(0), t.flip(0)),
    "ctkd": lambda s, t: CurriculumTemperature()(s, t, torch.tensor(3.0)),
}


def logits() -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    return student, teacher


def masking(some: Tensor, classes: int = 2) -> Tensor:
    return torch.cat([some, torch.full((len(some), classes), -math.inf, dtype=some.dtype)], dim=1)


def value_and_gradients(loss: Loss, student: Tensor, teacher: Tensor) -> tuple[Tensor, list[Tensor]]:
    inputs = [student.clone().requires_grad_(), teacher.clone().requires_grad_()]
    value = loss(*inputs)
    return value, [g for g in torch.autograd.grad(value, inputs, allow_unused=True) if g is not None]


@pytest.mark.parametrize("name", LEFT)
def test_masked_by_both_is_as_if_they_were_not_there(name: str) -> None:
    student, teacher = logits()
    value, gradients = value_and_gradients(LEFT[name], masking(student), masking(teacher))
    expected, wanted = value_and_gradients(LEFT[name], student, teacher)
    torch.testing.assert_close(value, expected)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, torch.nn.functional.pad(want, (0, 2)))


@pytest.mark.parametrize("name", [*LEFT, *ALSO])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("both", [True, False])
def test_value_and_gradients_are_finite(name: str, dtype: torch.dtype, both: bool) -> None:
    student, teacher = (masking(z.to(dtype)) for z in logits())
    student = student if both else torch.randn_like(student)
    value, gradients = value_and_gradients((LEFT | ALSO)[name], student, teacher)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_teachers_mask_alone() -> None:
    """KL over the classes that the teacher leaves, the student's probabilities over all classes."""
    (student, teacher), others = logits(), torch.randn(4, 2, dtype=torch.float64)
    whole = torch.cat([student, others], dim=1)
    p, log_q = (teacher / 4).softmax(1), (whole / 4).log_softmax(1)[:, :3]
    expected = 16 * (p * (p.log() - log_q)).sum(1).mean()
    torch.testing.assert_close(functional.kd(whole, masking(teacher)), expected)


@pytest.mark.parametrize("loss", [functional.kd, lambda s, t: functional.dkd(s, t, TARGET), functional.hard_label])
def test_the_students_mask_alone_costs_infinitely_much(loss: Loss) -> None:
    student, teacher = logits()
    teacher[0, 2] = student[0, 2] = 9.0
    student[0, 2] = -math.inf
    assert loss(student, teacher).item() == math.inf


def test_dkd_of_a_label_or_a_rest_that_the_teacher_masks() -> None:
    student, teacher = logits()
    teacher[0, 0] = -math.inf  # the label
    teacher[1, [0, 2]] = -math.inf  # all but the label
    value, gradients = value_and_gradients(lambda s, t: functional.dkd(s, t, TARGET, 1.0, 1.0, 1.0), student, teacher)
    log_q = student.log_softmax(1)
    expected = functional.dkd(student[2:], teacher[2:], TARGET[2:], 1.0, 1.0, 1.0) * 2
    rest = functional.kd(student[:1, 1:], teacher[:1, 1:], 1.0)
    expected = (expected - torch.log1p(-log_q[0, 0].exp()) + rest - log_q[1, 1]) / 4
    torch.testing.assert_close(value, expected)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_learned_temperature_gets_a_gradient_of_the_classes_left() -> None:
    student, teacher = logits()
    gradients = []
    for z in ((masking(student), masking(teacher)), (student, teacher)):
        loss = CurriculumTemperature()
        gradients += torch.autograd.grad(loss(*z, torch.tensor(3.0)), loss.theta)
    torch.testing.assert_close(*gradients)


def test_what_is_no_number_is_not_hidden() -> None:
    student, teacher = (masking(z) for z in logits())
    student[0, 0] = math.nan
    for name in [*LEFT, *ALSO]:
        assert (LEFT | ALSO)[name](student, teacher).isnan(), name


def test_standardized_classes_are_those_left() -> None:
    student, _ = logits()
    z = functional.standardize(masking(student))
    torch.testing.assert_close(z[:, :3], functional.standardize(student))
    assert (z[:, 3:] == -math.inf).all()
    one = functional.standardize(masking(student[:, :1]))
    torch.testing.assert_close(one, masking(torch.zeros(4, 1, dtype=torch.float64)), rtol=0, atol=1e-6)
