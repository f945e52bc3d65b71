"""The objective: terms over named signals, their weights, and the precision they are computed in."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import AttentionTransfer, CrossEntropy, SoftTarget, functional
from kd_lightning.objective import Objective, Term
from kd_lightning.schedules.progress import Linear, Progress, Warmup

Value = Tensor | Sequence[Tensor]


class Spy(nn.Module):
    """Keeps what it was given; its value is the sum of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Value] = []
        self.product: Tensor | None = None

    def forward(self, *values: Value) -> Tensor:
        self.seen = list(values)
        first = values[0] if isinstance(values[0], Tensor) else values[0][0]
        self.product = first.flatten(1) @ first.flatten(1).T  # what autocast would take to half precision
        return first.sum()


class Flattening(nn.Module):
    """As many published losses are written: for maps in the usual order alone."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student.view(len(student), -1) - teacher.view(len(teacher), -1)).square().mean()


def signals(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    shapes = {"logits": (4, 3), "stage1": (4, 2, 6, 6), "stage2": (4, 3, 3, 3)}
    drawn = {
        f"{role}.{tap}": torch.randn(shape, dtype=dtype, requires_grad=role == "student")
        for role in ("student", "teacher")
        for tap, shape in shapes.items()
    }
    return {"target": torch.tensor([0, 2, 1, 1]), **drawn}


def ce(weight: float | Linear = 1.0) -> Term:
    return Term(CrossEntropy(), ["student.logits", "target"], weight)


def kd(weight: float | Warmup = 1.0) -> Term:
    return Term(SoftTarget(2.0), ["student.logits", "teacher.logits"], weight)


def test_total_is_the_sum_of_the_weighted_terms() -> None:
    given = signals()
    objective = Objective(
        {"ce": ce(0.1), "kd": kd(0.9), "at": Term(AttentionTransfer(), [["student.stage1"], ["teacher.stage1"]], 50)}
    )
    total, raw, weighted = objective(given)
    expected = {
        "ce": functional.cross_entropy(given["student.logits"], given["target"]),
        "kd": functional.kd(given["student.logits"], given["teacher.logits"], 2.0),
        "at": functional.attention_transfer([given["student.stage1"]], [given["teacher.stage1"]]),
    }
    assert list(raw) == list(weighted) == list(expected)
    for name, weight in {"ce": 0.1, "kd": 0.9, "at": 50}.items():
        assert torch.equal(raw[name], expected[name])
        assert torch.equal(weighted[name], weight * expected[name])
    assert total.shape == ()
    assert total.item() == pytest.approx(sum(value.item() for value in weighted.values()))


def test_weights_follow_their_schedules() -> None:
    objective = Objective({"ce": ce(Linear(1.0, 0.2)), "kd": kd(Warmup(8.0, epochs=20)), "fixed": kd(3)})
    given = signals()
    _, raw, _ = objective(given)
    for progress, weights in {
        Progress(): {"ce": 1.0, "kd": 0.4, "fixed": 3},
        Progress(epoch=4.0, fraction=0.25): {"ce": 0.8, "kd": 2.0, "fixed": 3},
        Progress(epoch=40.0, fraction=1.0): {"ce": 0.2, "kd": 8.0, "fixed": 3},
    }.items():
        assert objective.weights(progress) == pytest.approx(weights)
        total, _, weighted = objective(given, progress)
        for name, weight in weights.items():
            assert weighted[name].item() == pytest.approx(weight * raw[name].item())
        assert total.item() == pytest.approx(sum(weights[name] * raw[name].item() for name in weights))


def test_what_a_loss_has_learned_stays_in_full_precision() -> None:
    loss = nn.Linear(2, 1).double()
    term = Term(loss, ["student.logits"])
    for convert in (term.half, term.bfloat16, lambda: term.to(torch.bfloat16)):
        convert()
        assert {value.dtype for value in loss.parameters()} == {torch.float64}
    assert {value.dtype for value in term.float().parameters()} == {torch.float32}


def test_losses_get_their_signals_in_order_and_lists_as_lists() -> None:
    spy, given = Spy(), signals()
    names = [["student.stage1", "student.stage2"], "teacher.logits", ["teacher.stage2"], "target"]
    objective = Objective({"spy": Term(spy, names)})
    objective(given)
    assert {*objective.names()} == {"student.stage1", "student.stage2", "teacher.logits", "teacher.stage2", "target"}
    for name, value in zip(names, spy.seen, strict=True):
        if isinstance(name, str):
            assert value is given[name]
        else:
            assert all(one is given[tap] for one, tap in zip(value, name, strict=True))


@pytest.mark.parametrize("terms", [{"ce": ce()}, {"ce": ce(), "kd": kd()}], ids=["ce", "ce,kd"])
def test_a_batch_without_target(terms: dict[str, Term]) -> None:
    """Terms that need one contribute nothing, and the total can still be differentiated."""
    given = signals()
    del given["target"]
    total, raw, weighted = Objective(terms)(given)
    assert set(raw) == set(weighted) == set(terms) - {"ce"}
    assert total.item() == pytest.approx(sum(value.item() for value in raw.values()))
    (gradient,) = torch.autograd.grad(total, given["student.logits"])
    assert gradient.isfinite().all()
    assert bool(gradient.any()) == ("kd" in terms)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("autocast", [False, True])
def test_losses_run_in_single_precision(dtype: torch.dtype, autocast: bool) -> None:
    spy, given = Spy(), signals(dtype)
    objective = Objective({"ce": ce(), "kd": kd(), "spy": Term(spy, [["student.stage1"], "teacher.stage2", "target"])})
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        total, raw, weighted = objective(given)
    (maps,), feature, target = spy.seen
    assert (maps.dtype, feature.dtype, target.dtype) == (torch.float32, torch.float32, torch.int64)
    assert spy.product is not None
    assert {value.dtype for value in (spy.product, total, *raw.values(), *weighted.values())} == {torch.float32}
    assert raw["kd"].item() == pytest.approx(
        functional.kd(given["student.logits"].float(), given["teacher.logits"].float(), 2.0).item(), rel=1e-6
    )
    (gradient,) = torch.autograd.grad(total, given["student.stage1"])
    assert gradient.dtype == dtype


def test_autocast_still_covers_the_projection() -> None:
    """The projection belongs to the network's side; its output reaches the loss in single precision."""
    spy = Spy()
    term = Term(spy, ["student.stage1", "teacher.stage1"], projector=lambda s, t: nn.Conv2d(s[0], t[0], 1))
    term.build(signals())
    with torch.autocast("cpu", torch.bfloat16):
        term(signals(torch.bfloat16))
    assert [value.dtype for value in spy.seen if isinstance(value, Tensor)] == [torch.float32] * 2


def test_double_precision_stays() -> None:
    assert Objective({"ce": ce(), "kd": kd()})(signals(torch.float64)).total.dtype == torch.float64


def test_projections_are_built_pair_by_pair_and_trained() -> None:
    pairs = []

    def projector(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
        pairs.append((student, teacher))
        return nn.Conv2d(student[0], teacher[0], 1)

    spy, given = Spy(), signals()
    names = [["student.stage1", "student.stage2"], ["teacher.stage2", "teacher.stage1"]]
    objective = Objective({"hint": Term(spy, names, projector=projector), "kd": kd()})
    assert list(objective.parameters()) == []
    objective.build(given)
    assert pairs == [((2, 6, 6), (3, 3, 3)), ((3, 3, 3), (2, 6, 6))]
    assert len(list(objective.parameters())) == 4
    objective(given)
    assert [value.shape[1] for value in spy.seen[0]] == [3, 2]
    assert spy.seen[1][0] is given["teacher.stage2"]


def test_no_terms() -> None:
    with pytest.raises(UserError, match="nothing to minimise; name at least one term"):
        Objective({})


def test_a_loss_from_elsewhere_may_view_maps_that_lie_channels_last() -> None:
    given = {name: value.detach() for name, value in signals().items()}
    channels_last = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in given.items()
    }
    pair = {**given, "teacher.stage1": torch.zeros_like(given["student.stage1"])}
    term = Term(Flattening(), ["student.stage1", "teacher.stage1"])
    assert torch.equal(term({**channels_last, "teacher.stage1": pair["teacher.stage1"]}), term(pair))


class Layout(nn.Module):
    """A loss that says it takes maps as they lie in memory, and notes how they did."""

    any_memory_format = True

    def forward(self, map: Tensor) -> Tensor:
        self.was_contiguous = map.is_contiguous()
        return map.mean()


def test_a_loss_says_itself_that_it_takes_any_layout() -> None:
    term = Term(Layout(), ["student.stage1"])
    term({"student.stage1": torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)})
    assert term.loss.was_contiguous is False
