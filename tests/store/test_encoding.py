"""What is kept of an answer."""

import pytest
import torch
from torch import Tensor

from kd_lightning.store import TopK, Whole
from kd_lightning.store.encoding import divergence

LOGITS = 5 * torch.randn(6, 40, generator=torch.Generator().manual_seed(0))


def kept(encoding: Whole | TopK, values: Tensor) -> Tensor:
    words = encoding.encode(values)
    assert words.dtype == torch.int16
    assert words.shape == (len(values), encoding.words)
    return encoding.decode(words)


def test_sixteen_bits_are_half_precision() -> None:
    assert torch.equal(kept(Whole(40), LOGITS), LOGITS.half().float())


def test_thirty_two_bits_are_exact() -> None:
    assert torch.equal(kept(Whole(40, bits=32), LOGITS), LOGITS)


def test_what_half_precision_cannot_hold_stays_finite() -> None:
    assert kept(Whole(2), torch.tensor([[1e6, -torch.inf]])).tolist() == [[65504.0, -65504.0]]


@pytest.mark.parametrize("bits", [16, 32])
def test_the_largest_are_kept_and_the_others_share_their_sum(bits: int) -> None:
    values = kept(TopK(40, 5, bits), LOGITS)
    top = LOGITS.topk(5).indices
    exact = LOGITS.gather(1, top).half().float() if bits == 16 else LOGITS.gather(1, top)
    assert torch.equal(values.gather(1, top), exact)
    others = torch.ones_like(LOGITS, dtype=torch.bool).scatter(1, top, False)
    assert all(len(row[mask].unique()) == 1 for row, mask in zip(values, others, strict=True))
    torch.testing.assert_close(values.logsumexp(1), LOGITS.logsumexp(1), rtol=1e-3 if bits == 16 else 1e-5, atol=0)


def test_more_classes_than_fifteen_bits_count() -> None:
    values = torch.zeros(1, 60_000)
    values[0, 59_999] = 9.0
    assert kept(TopK(60_000, 1), values).argmax() == 59_999


def test_the_error_is_what_it_is_and_falls_with_k() -> None:
    errors = [divergence(TopK(40, k, 32), LOGITS) for k in (1, 5, 20, 39)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.01
    assert errors[-1] == pytest.approx(0, abs=1e-5)
    p, q = LOGITS.double().softmax(1), kept(TopK(40, 5, 32), LOGITS).double().softmax(1)
    assert errors[1] == pytest.approx((p * (p / q).log()).sum(1).mean().item(), rel=1e-4)
