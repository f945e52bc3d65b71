"""Losses on pre-activations: which side of the boundary, and where the margins lie."""

import pytest
import torch

from kd_lightning.losses import OFD, functional


def test_activation_boundaries_ask_for_the_side_and_the_margin_alone() -> None:
    teacher = torch.tensor([3.0, 0.1, 0.0, -5.0]).view(1, 4, 1, 1)
    assert functional.activation_boundary([torch.tensor([1.0, 9.0, -1.0, -7.0]).view(1, 4, 1, 1)], [teacher]) == 0.0
    wrong = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 4, 1, 1)
    assert functional.activation_boundary([wrong], [teacher]).item() == pytest.approx(8 * 3 / 1000)


@pytest.mark.parametrize(
    ("scale", "shift", "expected"),
    [
        (0.0, -2.0, -2.0),
        (0.0, 0.0, 0.0),
        (0.0, 2.0, 0.0),
        (1.0, 50.0, -3.0),
        (-1.0, -50.0, -50.0),
        (1e-20, 1e4, -3e-20),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_margins_of_batch_normalisations_at_the_edge(
    scale: float, shift: float, expected: float, dtype: torch.dtype
) -> None:
    """A normalisation that has died, and one whose outputs are all positive, or all negative."""
    margin = functional.margin_relu_margin(torch.tensor([scale], dtype=dtype), torch.tensor([shift], dtype=dtype))
    assert margin.item() == pytest.approx(expected, rel=1e-5)


def test_overhaul_does_not_depend_on_what_the_batch_is() -> None:
    """The margins are those of the normalisation's parameters, and nothing trains these."""
    student, teacher = torch.randn(4, 2, 3, 3, requires_grad=True), torch.randn(4, 2, 3, 3)
    scale, shift = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    whole = OFD()([student], [teacher], [scale], [shift])
    parts = [OFD()([s], [t], [scale], [shift]) for s, t in zip(student.split(1), teacher.split(1), strict=True)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())
    whole.backward()
    assert scale.grad is None
    assert shift.grad is None
