"""Losses against formulas in plain numpy, published reference values, and the defects seen in public code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_lightning.losses import functional

Array = np.ndarray[Any, np.dtype[Any]]


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def kd(student: Array, teacher: Array, temperature: float) -> float:
    p_s, p_t = softmax(student / temperature), softmax(teacher / temperature)
    return float(temperature**2 * (p_t * (np.log(p_t) - np.log(p_s))).sum() / len(student))


def cross_entropy(logits: Array, target: Array, smoothing: float) -> float:
    classes = logits.shape[1]
    labels = (1 - smoothing) * np.eye(classes)[target] + smoothing / classes
    return float(-(labels * np.log(softmax(logits))).sum() / len(logits))


def mean_square(a: Array, b: Array) -> float:
    return float(((a - b) ** 2).sum() / a.size)


def pool(maps: Array, size: tuple[int, int]) -> Array:
    """Means of cells [floor(i·n/m), ceil((i+1)·n/m)) in both dimensions."""
    for axis, cells in zip((2, 3), size, strict=True):
        n = maps.shape[axis]
        bounds = [(i * n // cells, -(-(i + 1) * n // cells)) for i in range(cells)]
        maps = np.stack([maps.take(range(*bound), axis).mean(axis) for bound in bounds], axis)
    return maps


def attention(feature: Array, p: int) -> Array:
    flat = (np.abs(feature) ** p).mean(axis=1).reshape(len(feature), -1)
    return flat / np.sqrt((flat**2).sum(axis=1, keepdims=True))


def attention_transfer(student: list[Array], teacher: list[Array], p: int) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        size = (min(s.shape[2], t.shape[2]), min(s.shape[3], t.shape[3]))
        total += mean_square(attention(pool(s, size), p), attention(pool(t, size), p))
    return total


def draw(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(0, 2, shape)


def at_case(p: int, *pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[Any, Any, list[Array]]:
    """Attention transfer over layers whose tensors follow one another: all the student's, then all the teacher's."""
    n = len(pairs)
    return (
        lambda *maps: functional.attention_transfer(maps[:n], maps[n:], p),
        lambda *maps: attention_transfer(list(maps[:n]), list(maps[n:]), p),
        [draw(*pair[side]) for side in (0, 1) for pair in pairs],
    )


TARGET = np.array([3, 0, 6, 6, 1])
LOGITS = [draw(5, 7), draw(7, 5).T.copy()]
CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., float], list[Array]]] = {
    **{
        f"kd T={t}": (lambda s, z, t=t: functional.kd(s, z, t), lambda s, z, t=t: kd(s, z, t), LOGITS)
        for t in (0.5, 1.0, 4.0, 20.0)
    },
    **{
        f"cross_entropy smoothing={e}": (
            lambda z, e=e: functional.cross_entropy(z, torch.from_numpy(TARGET), e),
            lambda z, e=e: cross_entropy(z, TARGET, e),
            LOGITS[:1],
        )
        for e in (0.0, 0.1, 0.6)
    },
    "mean_squared_logits": (functional.mean_squared_logits, mean_square, LOGITS),
    "fitnet maps": (functional.fitnet, mean_square, [draw(2, 3, 4, 4), draw(2, 3, 4, 4) + draw(4)]),
    "fitnet tokens": (functional.fitnet, mean_square, [draw(2, 5, 3), draw(2, 5, 3) + draw(3)]),
    "attention equal": at_case(2, ((3, 4, 4, 4), (3, 2, 4, 4))),
    "attention student smaller": at_case(2, ((2, 2, 2, 2), (2, 3, 4, 4))),
    "attention student larger": at_case(2, ((2, 2, 5, 5), (2, 3, 2, 2))),
    "attention crossing sizes": at_case(2, ((2, 2, 5, 2), (2, 3, 3, 4))),
    "attention two layers p=4": at_case(4, ((2, 2, 3, 3), (2, 3, 3, 3)), ((2, 2, 2, 2), (2, 4, 1, 2))),
}
every_case = pytest.mark.parametrize("case", CASES)


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_equals_its_formula(case: str, dtype: torch.dtype, tolerance: float) -> None:
    loss, oracle, arrays = CASES[case]
    value = loss(*(torch.from_numpy(array).to(dtype) for array in arrays))
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.item() == pytest.approx(oracle(*arrays), rel=tolerance)


@every_case
def test_gradient_is_the_values_slope(case: str) -> None:
    loss, _, arrays = CASES[case]
    inputs = [torch.from_numpy(array).requires_grad_() for array in arrays]
    assert torch.autograd.gradcheck(loss, inputs)
    exact = torch.autograd.grad(loss(*inputs), inputs)
    single = [torch.from_numpy(array).float().requires_grad_() for array in arrays]
    for gradient, expected in zip(torch.autograd.grad(loss(*single), single), exact, strict=True):
        assert torch.allclose(gradient.double(), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("name", "temperature"), [("kd-0", 1.0), ("kd-1", 4.0), ("attention_transfer-0", None)])
def test_equals_published_code(
    shared: Path, name: str, temperature: float | None, dtype: torch.dtype, tolerance: float
) -> None:
    golden = {key: torch.from_numpy(value) for key, value in np.load(shared / "golden" / f"{name}.npz").items()}
    inputs = {key: golden[key].to(dtype) for key in golden if key.startswith(("student", "teacher"))}
    student = {key: value.requires_grad_() for key, value in inputs.items() if key.startswith("student")}
    teacher = [value for key, value in inputs.items() if key.startswith("teacher")]
    if temperature is None:
        value = functional.attention_transfer(list(student.values()), teacher)
    else:
        value = functional.kd(student["student_logits"], teacher[0], temperature)
    value.backward()
    assert value.item() == pytest.approx(golden["loss"].item(), rel=tolerance)
    for key, tensor in student.items():
        expected, gradient = golden[f"grad_{key}"], tensor.grad
        assert gradient is not None
        assert torch.allclose(gradient.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())
