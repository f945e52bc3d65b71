"""One-for-all: its heads on maps, tokens and vectors."""

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import OFA, functional

TEACHER, TARGET = torch.randn(2, 10), torch.tensor([3, 9])
STAGES: dict[str, list[Tensor]] = {
    "halving maps": [torch.randn(2, c, s, s) for c, s in ((8, 16), (12, 8), (20, 4))],
    "maps of odd and unequal sides": [torch.randn(2, 4, 15, 9), torch.randn(2, 6, 5, 7), torch.randn(2, 6, 4, 2)],
    "maps of one size": [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 8, 8)],
    "tokens": [torch.randn(2, 17, 12), torch.randn(2, 17, 12)],
    "vectors": [torch.randn(2, 12), torch.randn(2, 5)],
    "maps, then tokens": [torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12)],
}
every_shape = pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)


@every_shape
def test_the_sum_over_the_logits_and_a_head_on_each_stage(stages: list[Tensor]) -> None:
    loss, student = OFA(eps=1.5), torch.randn(2, 10, requires_grad=True)
    assert list(loss.parameters()) == []
    loss.build(student, stages, TEACHER, TARGET)
    value = loss(student, stages, TEACHER, TARGET)
    predictions = [head(stage) for head, stage in zip(loss.heads, stages, strict=True)]
    assert [prediction.shape for prediction in predictions] == [(2, 10)] * len(stages)
    terms = [functional.ofa(z, TEACHER, TARGET, 1.5) for z in (student, *predictions)]
    assert value.item() == pytest.approx(sum(term.item() for term in terms), rel=1e-5)
    value.backward()
    assert student.grad is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())
    assert all(p.grad.abs().max() > 0 for p in loss.parameters() if p.ndim != 1 and p.grad is not None)


def test_heads_narrow_maps_down_to_the_last_stage() -> None:
    """Two halvings, one, none; channels double, and end as wide as the last stage."""
    loss = OFA()
    loss.build(torch.randn(2, 10), STAGES["halving maps"], TEACHER, TARGET)
    convolutions = [[m for m in head.modules() if isinstance(m, nn.Conv2d)] for head in loss.heads]
    assert [[c.out_channels for c in head if c.kernel_size == (1, 1)] for head in convolutions] == [
        [8, 16, 16, 20],
        [12, 20],
        [20],
    ]
    assert [sum(c.stride == (2, 2) for c in head) for head in convolutions] == [2, 1, 0]
    assert all(c.groups == c.in_channels for head in convolutions for c in head if c.kernel_size == (3, 3))


def test_gradients_reach_the_stages() -> None:
    stages = [stage.clone().requires_grad_() for stage in STAGES["halving maps"]]
    loss = OFA()
    loss.build(torch.randn(2, 10), [stage.detach() for stage in stages], TEACHER, TARGET)
    loss(torch.randn(2, 10), stages, TEACHER, TARGET).backward()
    assert all(stage.grad is not None and stage.grad.abs().max() > 0 for stage in stages)


@every_shape
def test_heads_can_be_built_from_shapes_alone(stages: list[Tensor]) -> None:
    loss = OFA()
    loss.build(*(torch.empty(2, 10, device="meta"), [s.to("meta") for s in stages], TEACHER.to("meta"), TARGET))
    assert {p.device.type for p in loss.parameters()} == {"cpu"}


def test_the_classes_must_be_the_same() -> None:
    with pytest.raises(UserError, match=r"^signals=\(2, 7\) and \(2, 10\): logits of different shapes"):
        OFA().build(torch.randn(2, 7), STAGES["tokens"], TEACHER, TARGET)
