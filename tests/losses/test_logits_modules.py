"""The modules of the losses on logits: equal to the functions, what they refuse, and the parts that are trained."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import (
    DIST,
    DKD,
    OFA,
    WSLD,
    CrossEntropy,
    CurriculumTemperature,
    HardLabel,
    LogitStandardization,
    MeanSquaredLogits,
    SoftTarget,
    functional,
)
from tests.losses.case import draw

LOGITS = (torch.from_numpy(draw(4, 6)).float(), torch.from_numpy(draw(4, 6, seed=1)).float())
LABELS = torch.tensor([0, 5, 2, 2])
STANDARD = (functional.standardize(LOGITS[0]), functional.standardize(LOGITS[1]))


@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        (SoftTarget(), lambda s, t: functional.kd(s, t, 4.0), LOGITS),
        (SoftTarget(temperature=2), lambda s, t: functional.kd(s, t, 2.0), LOGITS),
        (CrossEntropy(), functional.cross_entropy, (LOGITS[0], LABELS)),
        (CrossEntropy(0.3), lambda z, y: functional.cross_entropy(z, y, 0.3), (LOGITS[0], LABELS)),
        (MeanSquaredLogits(), functional.mean_squared_logits, LOGITS),
        (HardLabel(), functional.hard_label, LOGITS),
        (DKD(), functional.dkd, (*LOGITS, LABELS)),
        (DKD(2.0, 0.5, 1.0), lambda s, t, y: functional.dkd(s, t, y, 2.0, 0.5, 1.0), (*LOGITS, LABELS)),
        (DIST(), functional.dist, LOGITS),
        (DIST(2.0, 0.5, 4.0), lambda s, t: functional.dist(s, t, 2.0, 0.5, 4.0), LOGITS),
        (WSLD(), functional.wsld, (*LOGITS, LABELS)),
        (WSLD(4.0), lambda s, t, y: functional.wsld(s, t, y, 4.0), (*LOGITS, LABELS)),
        (LogitStandardization(SoftTarget(2.0)), functional.logit_standardization_kd, LOGITS),
        (LogitStandardization(DIST()), lambda s, t: functional.dist(*STANDARD), LOGITS),
        (LogitStandardization(WSLD()), lambda s, t, y: functional.wsld(*STANDARD, y), (*LOGITS, LABELS)),
    ],
)
def test_modules_equal_the_functions(module: nn.Module, function: Callable[..., Tensor], arguments: tuple) -> None:
    assert torch.equal(module(*arguments), function(*arguments))
    assert list(module.state_dict()) == []


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("loss", [SoftTarget, DKD, DIST, WSLD, OFA])
def test_bad_temperatures(loss: Callable[..., nn.Module], value: float) -> None:
    with pytest.raises(UserError, match=f"^temperature={value}: must be a finite number above 0$"):
        loss(temperature=value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(-0.1), "^label_smoothing=-0.1: must be"),
        (lambda: CrossEntropy(1.0), "^label_smoothing=1.0: must be"),
        (lambda: CrossEntropy(math.nan), "^label_smoothing=nan: must be"),
        (lambda: DKD(alpha=-1.0), "^alpha=-1.0: must be a finite number of at least 0$"),
        (lambda: DKD(beta=math.nan), "^beta=nan: must be"),
        (lambda: DIST(gamma=-2), "^gamma=-2: must be"),
        (lambda: OFA(eps=0.0), "^eps=0.0: must be"),
        (lambda: CurriculumTemperature(start=0.0), "^start=0.0: must be"),
        (lambda: CurriculumTemperature(range=-1.0), "^range=-1.0: must be"),
        (lambda: CurriculumTemperature(epochs=0), "^epochs=0: must be"),
        (lambda: DKD()(*LOGITS, torch.rand(4, 6)), r"^target=\(4, 6\): this loss needs one class for each image"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_reversed_gradients() -> None:
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    value = functional.reverse_gradient(x, torch.tensor(-0.25))
    assert torch.equal(value, x)
    (gradient,) = torch.autograd.grad(value.square().sum(), x)
    assert gradient.dtype == torch.float64
    assert torch.equal(gradient, -0.25 * 2 * x)


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0.0, -0.0244717), (0.999, -0.0244717), (1.0, -0.0954915), (4.5, -0.5), (9.0, -1.0), (9.99, -1.0), (200.3, -1.0)],
)
def test_the_reversal_grows_over_ten_epochs(epoch: float, factor: float) -> None:
    """Epochs count from 1, in whole steps: (cos(π·e/10) - 1)/2 at e = 1, 2, …, 10, and -1 from there."""
    loss = CurriculumTemperature()
    theta = loss.theta.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(functional.kd(*LOGITS, 1 + 20 * torch.sigmoid(theta)), theta)
    (gradient,) = torch.autograd.grad(loss(*LOGITS, torch.tensor(epoch)), loss.theta)
    assert gradient.item() == pytest.approx(factor * slope.item(), rel=1e-4)


def test_the_learned_temperature() -> None:
    loss = CurriculumTemperature()
    at_first = 1 + 20 / (1 + math.exp(-1))
    assert loss.theta.item() == 1.0
    assert loss.temperature.item() == pytest.approx(at_first)
    assert not loss.temperature.requires_grad
    assert loss(*LOGITS, torch.tensor(3.0)).item() == pytest.approx(functional.kd(*LOGITS, at_first).item(), rel=1e-5)
    assert list(loss.state_dict()) == ["theta"]


def test_the_student_descends_what_the_temperature_climbs() -> None:
    student, teacher = LOGITS[0].double().requires_grad_(), LOGITS[1].double()
    loss = CurriculumTemperature().double()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.01)
    before = functional.kd(student, teacher, loss.temperature)
    loss(student, teacher, torch.tensor(20.0)).backward()
    optimizer.step()
    assert functional.kd(student, teacher, loss.temperature) > before
    assert student.grad is not None
    (expected,) = torch.autograd.grad(before, student)
    assert torch.allclose(student.grad, expected)


@pytest.mark.gpu
def test_the_epoch_may_stay_on_the_cpu() -> None:
    loss = CurriculumTemperature().cuda()
    student, teacher = (logits.cuda() for logits in LOGITS)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(student, teacher, torch.tensor(2.5)).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.theta.grad is not None
    assert loss.theta.grad.is_cuda


@pytest.mark.parametrize("epochs", [1, 10])
def test_the_learned_temperature_of_extreme_logits_is_finite(epochs: int) -> None:
    loss = CurriculumTemperature(epochs=epochs)
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = loss(student, -student.detach(), torch.tensor(0.5))
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert loss.theta.grad is not None
    assert loss.theta.grad.isfinite()
