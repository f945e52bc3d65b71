"""The feature losses as modules: what they build, what trains, what they refuse."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import (
    CATKD,
    FSP,
    NST,
    OFD,
    SRRL,
    VID,
    ActivationBoundary,
    AttentionTransfer,
    FactorTransfer,
    FitNet,
    Paraphrase,
    ReviewKD,
    SimKD,
    functional,
)


def maps(*shapes: tuple[int, ...], batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, *shape) for shape in shapes]


STUDENT, TEACHER = maps((3, 4, 4), (4, 2, 2)), maps((5, 4, 4), (7, 3, 3))
EQUAL = maps((3, 8, 8), (4, 2, 2))
VECTORS, LOGITS, WEIGHT, BIAS = maps((6,), (6,)), torch.randn(2, 5), torch.randn(5, 6), torch.randn(5)
WEIGHTS = torch.randn(9, 4), torch.randn(9, 7)


@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        (FitNet(), functional.fitnet, VECTORS),
        (AttentionTransfer(), lambda s, t: functional.attention_transfer(s, t, 2), (STUDENT, TEACHER)),
        (AttentionTransfer(p=4), lambda s, t: functional.attention_transfer(s, t, 4), (STUDENT, TEACHER)),
        (NST(), functional.nst, (STUDENT, TEACHER)),
        (FSP(), functional.fsp, (STUDENT, EQUAL)),
        (ActivationBoundary(), lambda s, t: functional.activation_boundary(s, t, 1.0), (STUDENT, STUDENT)),
        (ActivationBoundary(2.5), lambda s, t: functional.activation_boundary(s, t, 2.5), (STUDENT, STUDENT)),
        (SimKD(), functional.simkd, (STUDENT[0], EQUAL[0])),
        (SRRL(), lambda s, t, z, w, b: functional.srrl(s, t, s @ w.T + b, z), (*VECTORS, LOGITS, WEIGHT, BIAS)),
        (
            CATKD(2, normalize=False),
            lambda s, w, t, v: functional.cat_kd(
                functional.class_activation_maps(s, w), functional.class_activation_maps(t, v), 2, False
            ),
            (STUDENT[1], WEIGHTS[0], TEACHER[1], WEIGHTS[1]),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_modules_equal_the_functions(module: nn.Module, function: Callable[..., Tensor], arguments: tuple) -> None:
    assert torch.allclose(module(*arguments), function(*arguments))
    assert list(module.state_dict()) == []


def test_class_attention_teaches_the_students_classifier() -> None:
    weight = WEIGHTS[0].clone().requires_grad_()
    CATKD()(STUDENT[1], weight, TEACHER[1], WEIGHTS[1]).backward()
    assert weight.grad is not None
    assert weight.grad.any()


BUILT: dict[str, tuple[Callable[[], Any], tuple]] = {
    "VID": (VID, (TEACHER, TEACHER)),
    "FactorTransfer": (FactorTransfer, (STUDENT[0], TEACHER[1])),
    "Paraphrase": (Paraphrase, (TEACHER[0],)),
    "ReviewKD": (ReviewKD, (STUDENT, TEACHER)),
}
every_built = pytest.mark.parametrize(("make", "examples"), BUILT.values(), ids=BUILT)


@every_built
def test_whatever_is_built_trains(make: Callable[[], Any], examples: tuple) -> None:
    """And nothing else: VID's ρ in a plain list would never be trained."""
    loss = make()
    assert list(loss.parameters()) == []
    with torch.no_grad():
        loss.build(*examples)
    fresh = [[torch.randn_like(x) for x in e] if isinstance(e, list) else torch.randn_like(e) for e in examples]
    loss(*fresh).backward()
    trained = {name: p for name, p in loss.named_parameters() if p.requires_grad}
    assert trained
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all("paraphraser" in name for name, p in loss.named_parameters() if not p.requires_grad)


@every_built
def test_building_again_fits_the_new_shapes(make: Callable[[], Any], examples: tuple) -> None:
    loss = make()
    loss.build(*[e[:1] if isinstance(e, list) else e[:, :2] for e in examples])
    loss.build(*examples)
    assert loss(*examples).isfinite()


def test_vid_starts_at_its_variance() -> None:
    loss = VID(initial_variance=3.0, eps=0.1)
    loss.build(TEACHER, TEACHER)
    assert [tuple(scale.shape) for scale in loss.log_scales] == [(5,), (7,)]
    for scale in loss.log_scales:
        assert torch.allclose(F.softplus(scale) + 0.1, torch.tensor(3.0))


def test_vid_sums_its_layers() -> None:
    loss = VID()
    loss.build(TEACHER, TEACHER)
    means = [torch.randn_like(t) for t in TEACHER]
    each = [
        functional.variational_information(m, t, scale)
        for m, t, scale in zip(means, TEACHER, loss.log_scales, strict=True)
    ]
    assert torch.allclose(loss(means, TEACHER), torch.stack(each).sum())


def test_factor_transfer_takes_over_a_trained_paraphraser_and_freezes_it() -> None:
    paraphrase, transfer = Paraphrase(), FactorTransfer()
    paraphrase.build(TEACHER[1])
    transfer.build(STUDENT[0], TEACHER[1])
    missing, unexpected = transfer.load_state_dict(paraphrase.state_dict(), strict=False)
    assert unexpected == []
    assert all(name.startswith("translator.") for name in missing)
    factor = paraphrase.paraphraser.encode(TEACHER[1])
    expected = functional.factor_transfer(transfer.translator(STUDENT[0]), factor)
    assert torch.allclose(transfer(STUDENT[0], TEACHER[1]), expected)
    assert not any(p.requires_grad for p in transfer.paraphraser.parameters())
    assert factor.shape == (2, 3, 3, 3)


def test_a_paraphraser_learns_to_reconstruct() -> None:
    loss, feature = Paraphrase(), torch.randn(4, 4, 4, 4)
    loss.build(feature)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
    before = loss(feature).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss(feature).backward()
        optimizer.step()
    assert loss(feature).item() < 0.9 * before


TOKENS = maps((9, 3), (9, 3))
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "margin": (lambda: ActivationBoundary(0.0), r"^margin=0.0: must be"),
    "p": (lambda: AttentionTransfer(-1), r"^p=-1: must be"),
    "rate": (lambda: FactorTransfer(rate=0), r"^rate=0: must be"),
    "rate too small": (lambda: Paraphrase(0.1).build(TEACHER[0]), r"^rate=0.1: leaves no channel of 5"),
    "eps": (lambda: VID(eps=-1e-5), r"^eps=-1e-05: must be"),
    "variance below eps": (lambda: VID(1e-6), r"^initial_variance=.*: must be"),
    "resolution": (lambda: CATKD(0), r"^resolution=0: must be"),
    "width": (lambda: ReviewKD(0), r"^max_width=0: must be"),
    "fsp channels": (
        lambda: FSP().build(STUDENT, TEACHER),
        r"^signals=\[3, 4\] channels of the student, \[5, 7\] of the teacher: .*; choose a pair",
    ),
    "fsp layers": (lambda: FSP().build(STUDENT[:1], EQUAL[:1]), r"^signals=1 layer: .*name two"),
    "vid channels": (lambda: VID().build(STUDENT, TEACHER), r"^signals=.*equal"),
    "ab channels": (lambda: ActivationBoundary().build(STUDENT, TEACHER), r"^signals=.*equal"),
    "ofd channels": (lambda: OFD().build(STUDENT, TEACHER, [], []), r"^signals=.*equal"),
    "simkd channels": (lambda: SimKD().build(STUDENT[0], TEACHER[0]), r"^signals=.*equal"),
    "classes": (
        lambda: CATKD().build(STUDENT[1], torch.randn(9, 4), TEACHER[1], torch.randn(8, 7)),
        r"^signals=9 classes of the student, 8 of the teacher: .*; choose",
    ),
    "tokens for attention": (lambda: AttentionTransfer()(TOKENS, TOKENS), r"^signals=\(9, 3\): .*name layers"),
    "tokens for nst": (lambda: NST()(TOKENS, TOKENS), r"^signals=\(9, 3\): .*name layers"),
    "tokens for a factor": (lambda: FactorTransfer().build(TOKENS[0], TEACHER[0]), r"^signals=\(9, 3\): .*name layers"),
    "tokens for review": (lambda: ReviewKD().build(TOKENS, TEACHER), r"^signals=\(9, 3\): .*name layers"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_refuses(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
