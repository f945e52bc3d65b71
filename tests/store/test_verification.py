"""What counts as a difference between a teacher's answers and what is kept of them."""

import pytest
import torch
from torch import Tensor

from kd_lightning.inference.answers.verification import MIXED_TOLERANCE, TOLERANCE, relative_difference
from kd_lightning.store import TopK, Whole
from kd_lightning.store.encoding import Encoding

LOGITS = 5 * torch.randn(64, 100, generator=torch.Generator().manual_seed(0))


def difference(encoding: Encoding, before: Tensor, now: Tensor) -> float:
    return relative_difference(encoding, encoding.decode(encoding.encode(before)), now)


def largest(logits: Tensor) -> Tensor:
    return logits.abs().amax(dim=1, keepdim=True)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("k", [1, 5, 50, 99])
def test_the_same_answers_differ_by_rounding_alone(k: int, bits: int) -> None:
    assert difference(TopK(100, k, bits), LOGITS, LOGITS) <= TOLERANCE[str(bits)] / 4


def test_a_tie_for_the_last_place_is_no_difference() -> None:
    noise = 0.01 * largest(LOGITS) * (2 * torch.rand(LOGITS.shape) - 1)
    swapped = LOGITS.topk(5).indices.sort().values != (LOGITS + noise).topk(5).indices.sort().values
    assert swapped.any(), "another class is the fifth"
    for k in range(1, 100, 7):
        assert difference(TopK(100, k), LOGITS, LOGITS + noise) <= 0.012


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("change", ["one kept", "one that was not kept", "all", "order"])
def test_another_teacher_is_found(k: int, change: str) -> None:
    now = LOGITS.clone()
    if change == "one kept":
        now[3, LOGITS[3].argmax()] -= 2
    elif change == "one that was not kept":
        now[3, LOGITS[3].argmin()] = LOGITS[3].max() + 1
    elif change == "all":
        now += 2
    else:
        now = now.roll(1, dims=1)
    assert difference(TopK(100, k), LOGITS, now) > MIXED_TOLERANCE


@pytest.mark.parametrize("bits", [16, 32])
def test_whole_answers_are_compared_number_by_number(bits: int) -> None:
    now = LOGITS.clone()
    assert difference(Whole(100, bits), LOGITS, now) == 0
    now[3, LOGITS[3].argmin()] += largest(LOGITS)[3, 0] / 16
    assert difference(Whole(100, bits), LOGITS, now) == pytest.approx(1 / 16, rel=1e-2)
