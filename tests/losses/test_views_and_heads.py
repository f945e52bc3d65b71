"""A network that teaches itself: who is the teacher, what the public code's slips would change, heads on any stages."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import BYOT, CSKD, DDGSD, CrossEntropy, MeanDiscrepancy, functional
from tests.losses.case import draw
from tests.losses.oracles.views_and_heads import divergence, softened

TARGET = torch.tensor([3, 9])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(draw(*shape, seed=seed)).requires_grad_()


def test_the_partner_of_cs_kd_is_a_target() -> None:
    logits, partner = drawn(4, 5), drawn(4, 5, seed=1)
    CSKD(temperature=4.0)(logits, partner, torch.arange(4)).backward()
    assert partner.grad is None
    assert logits.grad is not None


def test_its_divergence_is_summed_over_classes() -> None:
    """`KLDivLoss()` by itself divides by B·C, which would be C times less."""
    logits, partner = drawn(4, 5), drawn(4, 5, seed=1)
    log_own, its = (logits / 4).log_softmax(1), (partner / 4).softmax(1)
    per_element = nn.functional.kl_div(log_own, its, reduction="none").mean().item()  # as `KLDivLoss()` has it
    value = CSKD(temperature=4.0)(logits, partner, torch.arange(4)).item()
    assert value == pytest.approx(4**2 * 5 * per_element, rel=1e-9)


def test_each_view_of_ddgsd_learns_from_the_other_one_as_it_is() -> None:
    """The value is the sum of both divergences; each view has the gradient of the one that it learns in."""
    first, second, temperature = drawn(4, 5), drawn(4, 5, seed=1), 3.0
    value = DDGSD(temperature)(first, second)
    a, b = ([softened(z, temperature) for z in view.detach().numpy()] for view in (first, second))
    both = [divergence(p, q) + divergence(q, p) for p, q in zip(a, b, strict=True)]
    assert value.item() == pytest.approx(temperature**2 * np.mean(both), rel=1e-9)
    value.backward()
    expected = temperature * (np.stack(a) - np.stack(b)) / 4  # of T²·KL by logits, a mean over 4 images
    np.testing.assert_allclose(first.grad.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(second.grad.numpy(), -expected, rtol=1e-9)


def test_mean_features_are_compared_feature_by_feature() -> None:
    """Public code compares the mean of all features, which a shift of one against another leaves as it is."""
    first = torch.zeros(4, 2)
    second = torch.tensor([[1.0, -1.0]]).expand(4, 2)
    assert (first.mean() - second.mean()) ** 2 == 0
    assert MeanDiscrepancy()(first, second).item() == 2.0
    with pytest.raises(UserError, match=r"^signals=\(2,\) and \(3,\): the mean features"):
        MeanDiscrepancy().build(first, torch.zeros(4, 3))


STAGES: dict[str, list[Tensor]] = {
    "halving maps": [torch.randn(2, c, s, s) for c, s in ((8, 16), (12, 8), (20, 4), (24, 2))],
    "maps of odd and unequal sides": [torch.randn(2, 4, 15, 9), torch.randn(2, 6, 5, 7), torch.randn(2, 6, 4, 2)],
    "maps of one size": [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 8, 8)],
    "tokens": [torch.randn(2, 17, 12), torch.randn(2, 17, 12)],
    "vectors": [torch.randn(2, 12), torch.randn(2, 5)],
    "maps, then tokens": [torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12)],
}


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_heads_stand_on_every_stage_but_the_last(stages: list[Tensor]) -> None:
    stages = [stage.clone().requires_grad_() for stage in stages]
    feature, logits = torch.randn(2, 20, requires_grad=True), torch.randn(2, 10, requires_grad=True)
    loss = BYOT(alpha=0.3, temperature=2.0, beta=0.01)
    assert list(loss.parameters()) == []
    loss.build(stages, feature, logits, TARGET)
    found = [head(stage) for head, stage in zip(loss.heads, stages[:-1], strict=True)]
    assert [(own.shape, z.shape) for own, z in found] == [((2, 20), (2, 10))] * (len(stages) - 1)
    loss.eval()
    features, heads = zip(*(head(stage) for head, stage in zip(loss.heads, stages[:-1], strict=True)), strict=True)
    value = loss(stages, feature, logits, TARGET)
    expected = functional.byot(heads, features, logits, feature, TARGET, 0.3, 2.0, 0.01)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert feature.grad is None, "the deepest is the teacher"
    assert logits.grad is None
    assert all(stage.grad is not None and stage.grad.abs().max() > 0 for stage in stages[:-1])
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


def test_a_bottleneck_is_the_published_one() -> None:
    """1x1, kxk with stride k, 1x1, a quarter of the width inside; k brings each stage to the last one's size."""
    loss = BYOT()
    loss.build(STAGES["halving maps"], torch.randn(2, 24), torch.randn(2, 10), TARGET)
    convolutions = [[m for m in head.modules() if isinstance(m, nn.Conv2d)] for head in loss.heads]
    assert [[c.out_channels for c in head] for head in convolutions] == [[6, 6, 24]] * 3
    assert [[c.kernel_size[0] for c in head] for head in convolutions] == [[1, 8, 1], [1, 4, 1], [1, 2, 1]]
    assert all(c.stride == c.kernel_size for head in convolutions for c in head)


def test_features_distance_is_public_codes_sum_over_its_batch() -> None:
    """Times 1e-6, where 128 images are a batch; where both features are 0 or less, which ReLU leaves as 0, nothing."""
    own, deepest = drawn(128, 8).relu(), drawn(128, 8, seed=1).relu()
    public = 1e-6 * ((own - deepest) ** 2 * ((own > 0) | (deepest > 0))).sum()
    logits, target = torch.zeros(128, 4, dtype=torch.float64), torch.zeros(128, dtype=torch.long)
    labels_alone = functional.byot([logits], [deepest], logits, deepest, target)
    value = functional.byot([logits], [own], logits, deepest, target, beta=BYOT().beta)
    assert (value - labels_alone).item() == pytest.approx(public.item(), rel=1e-9)


def test_heads_can_be_built_from_shapes_alone() -> None:
    stages = [stage.to("meta") for stage in STAGES["halving maps"]]
    loss = BYOT()
    loss.build(stages, torch.empty(2, 24, device="meta"), torch.empty(2, 10, device="meta"), TARGET)
    assert {p.device.type for p in loss.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("stages", "feature", "message"),
    [
        (1, (2, 8), "^signals=1 stage: the deepest stage teaches heads on earlier ones; name two or more"),
        (2, (2, 8, 4, 4), r"^signals=\(8, 4, 4\): the deepest feature must be a vector, such as pooled"),
    ],
)
def test_what_is_no_network_with_stages_is_refused(stages: int, feature: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BYOT().build(STAGES["halving maps"][:stages], torch.randn(feature), torch.randn(2, 10), TARGET)


@pytest.mark.parametrize("arguments", [{"alpha": 1.0}, {"temperature": 0.0}, {"beta": -1.0}])
def test_bad_arguments(arguments: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(arguments))}="):
        BYOT(**arguments)


class Net(nn.Sequential):
    """With a batch normalisation, and dropout."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("detached", ["", ".detached"])
def test_a_partner_that_is_taken_without_gradient_leaves_none_behind(detached: str) -> None:
    """The value and the gradient are those of a pass that prepares for one; statistics see both passes."""
    torch.manual_seed(0)
    net = Net()
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        "cs_kd": Term(CSKD(), ["student.logits", f"student@same_class.logits{detached}", "target"]),
    }
    module = DistillationModule(net, terms=terms)
    torch.manual_seed(1)
    batch = {"input": torch.rand(6, 16), "input_same_class": torch.rand(6, 16), "target": torch.arange(6) % 3}
    signals = module.signals(batch)
    partner = signals["student@same_class.logits"]
    assert partner.requires_grad == (not detached)
    assert net[2].num_batches_tracked == 2
    module.objective(signals).total.backward()
    expected = Net()
    expected.load_state_dict({**module.student.state_dict(), **dict(net.named_parameters())})
    logits = expected(batch["input"])
    soft = functional.cs_kd(logits, partner.detach(), batch["target"], 4.0)
    (nn.functional.cross_entropy(logits, batch["target"]) + soft).backward()
    for own, other in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_autocast_keeps_no_weight_without_its_gradient() -> None:
    """A pass without gradient caches weights in lower precision, which a later one in the step would take."""
    net = nn.Linear(16, 3)
    term = Term(CSKD(), ["student.logits", "student@same_class.logits.detached", "target"])
    module = DistillationModule(net, terms={"cs_kd": term})
    module._signals.requested["student"] = {one: {"logits"} for one in ("same_class", "input")}  # in this order
    batch = {"input": torch.rand(6, 16), "input_same_class": torch.rand(6, 16), "target": torch.arange(6) % 3}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module.objective(module.signals(batch)).total.backward()
    assert net.weight.grad is not None
    assert net.weight.grad.abs().max() > 0
