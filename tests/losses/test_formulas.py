"""Every loss against its formula in plain numpy: value, gradient, both precisions.

float64 shows that the formula is right; float32 that nothing much is lost, a thousand times its step at most: what sums
in another order, on another CPU, lose of that differs by a few steps.
"""

import importlib
import pkgutil

import pytest
import torch

from tests.losses import oracles
from tests.losses.case import Case

FAMILIES = [module.name for module in pkgutil.iter_modules(oracles.__path__)]
CASES: dict[str, Case] = {
    f"{family}: {name}": case
    for family in FAMILIES
    for name, case in importlib.import_module(f"tests.losses.oracles.{family}").CASES.items()
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_equals_its_formula(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    value = case.loss(*(torch.from_numpy(array).to(dtype) for array in case.arrays))
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.item() == pytest.approx(case.oracle(*case.arrays), rel=tolerance)


@every_case
def test_gradient_is_the_values_slope(case: Case) -> None:
    inputs = [torch.from_numpy(array).requires_grad_() for array in case.arrays]
    assert torch.autograd.gradcheck(case.loss, inputs)
    exact = torch.autograd.grad(case.loss(*inputs), inputs)
    single = [torch.from_numpy(array).float().requires_grad_() for array in case.arrays]
    for gradient, expected in zip(torch.autograd.grad(case.loss(*single), single), exact, strict=True):
        assert torch.allclose(gradient.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
