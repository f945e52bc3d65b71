"""Losses over several networks at once: each target and weight against an oracle, and the traps of public code."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from kd_lightning.errors import UserError
from kd_lightning.losses import KDCL, MCL, functional
from kd_lightning.losses.functional.peers.collaborative import COLLABORATIONS, Collaboration
from tests.losses.case import Array

BATCH, CLASSES = 7, 5
TARGET = torch.tensor([0, 3, 1, 1, 4, 2, 0])


def drawn(count: int, *shape: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def naive(logits: Sequence[Array], label: int) -> Array:
    return min(logits, key=lambda z: -np.log(softmax(z)[label]))


def minlogit(logits: Sequence[Array], label: int) -> Array:
    return np.array([min(z[c] - z[label] for z in logits) for c in range(CLASSES)])


def mean(logits: Sequence[Array], label: int) -> Array:
    return np.asarray(np.mean([*logits], axis=0))


def best_of_two(logits: Sequence[Array], label: int) -> Array:
    """The mixture on a fine grid of shares, made finer around the best."""
    one, two = logits
    low, high = 0.0, 1.0
    for _ in range(12):
        shares = np.linspace(low, high, 11)
        costs = [-np.log(softmax(share * one + (1 - share) * two)[label]) for share in shares]
        best = int(np.argmin(costs))
        low, high = shares[max(best - 1, 0)], shares[min(best + 1, 10)]
    return np.asarray((low + high) / 2 * one + (1 - (low + high) / 2) * two)


ORACLES: dict[Collaboration, Callable[[Sequence[Array], int], Array]] = {
    "naive": naive,
    "minlogit": minlogit,
    "mean": mean,
    "general": mean,  # until something was validated
    "linear": best_of_two,
}


@pytest.mark.parametrize("collaboration", COLLABORATIONS)
def test_value_and_gradient_are_those_of_the_formula(collaboration: Collaboration) -> None:
    """T²·KL(p_z ‖ p) and its slope T·(p - p_z)/B, where z, made of all of them, has no gradient."""
    logits, temperature = drawn(2, BATCH, CLASSES), 3.0
    for own in (0, 1):
        inputs = [one.clone().requires_grad_() for one in logits]
        value = functional.kdcl(inputs[own], [inputs[1 - own]], TARGET, collaboration, temperature)
        total, slopes = 0.0, []
        for place, label in enumerate(TARGET.tolist()):
            rows = [one[place].numpy() for one in logits]
            soft = softmax(ORACLES[collaboration](rows, label) / temperature)
            mine = softmax(rows[own] / temperature)
            total += temperature**2 * (soft * (np.log(soft) - np.log(mine))).sum() / BATCH
            slopes.append(temperature * (mine - soft) / BATCH)
        assert float(value.detach()) == pytest.approx(total, rel=1e-6, abs=1e-9)
        value.backward()
        assert inputs[1 - own].grad is None
        gradient = inputs[own].grad
        assert gradient is not None
        torch.testing.assert_close(gradient, torch.from_numpy(np.array(slopes)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_no_mixture_is_better_than_the_linear_one(count: int) -> None:
    """At the least of a convex function no share's slope is below that of the shares that are used."""
    logits = drawn(count, 30, CLASSES, seed=count)
    target = torch.arange(30) % CLASSES
    mixed = functional.collaborative_target(logits, target, "linear")
    slopes = torch.stack([((mixed.softmax(1) - F.one_hot(target, CLASSES)) * z).sum(1) for z in logits])
    used = ((mixed.softmax(1) - F.one_hot(target, CLASSES)) * mixed).sum(1)  # the mean slope of those
    assert (used - slopes.amin(0)).max() < 1e-4
    best = torch.stack([F.cross_entropy(z, target, reduction="none") for z in logits]).amin(0)
    assert (F.cross_entropy(mixed, target, reduction="none") <= best + 1e-6).all()
    assert (F.cross_entropy(mixed, target, reduction="none") < best - 0.01).any(), "and of some better than each"


def test_the_best_of_the_peers_is_not_the_least_of_the_logits_and_a_sum_is_no_mean() -> None:
    logits = drawn(3, BATCH, CLASSES)
    targets = {name: functional.collaborative_target(logits, TARGET, name).softmax(1) for name in COLLABORATIONS}
    costs = {name: float(F.nll_loss(p.log(), TARGET)) for name, p in targets.items()}
    assert costs["minlogit"] < costs["linear"] < costs["naive"] < costs["mean"]
    torch.testing.assert_close(targets["mean"], (sum(logits) / 3).softmax(1))
    assert not torch.allclose(targets["mean"], torch.stack(logits).sum(0).softmax(1), atol=0.05)


def test_general_weights_are_those_of_the_least_error() -> None:
    """w = C⁻¹1 / 1ᵀC⁻¹1, in numpy; and no other weights of sum 1 err less."""
    errors = drawn(1, 4, 200)[0].numpy()
    errors[3] += 2 * errors[0]
    correlation = errors @ errors.T / 200
    inverse = np.linalg.inv(correlation)
    expected = inverse.sum(1) / inverse.sum()
    found = functional.generalization_weights(torch.from_numpy(correlation))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-4)
    least = found.numpy() @ correlation @ found.numpy()
    for change in np.eye(4) - 0.25:
        moved = found.numpy() + 0.01 * change
        assert moved @ correlation @ moved > least
    equal = torch.ones(2, 2)  # two that err alike have no inverse
    torch.testing.assert_close(functional.generalization_weights(equal), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(functional.generalization_weights(torch.zeros(2, 2)), torch.tensor([0.5, 0.5]))


def test_general_learns_its_weights_from_a_validation() -> None:
    loss = KDCL("general")
    loss.see_peers([KDCL("general"), None])
    assert loss.weights is not None
    batches = [(drawn(3, 5, CLASSES, seed=seed), torch.tensor([0, 1, -1, 3, 2])) for seed in (1, 2)]
    summed = sum(loss.errors(logits[0], logits[1:], target) for logits, target in batches)
    assert isinstance(summed, Tensor)
    loss.end_validation(summed)
    errors = [
        np.stack([softmax(z[row].numpy()) - np.eye(CLASSES)[target[row]] for z in logits])
        for logits, target in batches
        for row in (0, 1, 3, 4)  # one has no label
    ]
    correlation = np.mean([(error @ error.T) for error in errors], axis=0)
    inverse = np.linalg.inv(correlation)
    torch.testing.assert_close(
        loss.weights.double(), torch.from_numpy(inverse.sum(1) / inverse.sum()), rtol=1e-4, atol=1e-4
    )
    before = loss.weights.clone()
    loss.end_validation(torch.zeros(4, 3))  # of no labelled sample
    assert torch.equal(loss.weights, before)
    assert "weights" in loss.state_dict()


@pytest.mark.parametrize("collaboration", COLLABORATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_and_masked_logits_have_finite_values(collaboration: Collaboration, dtype: torch.dtype) -> None:
    logits = [one.to(dtype) for one in drawn(3, BATCH, CLASSES)]
    student, *others = [1e4 * one for one in logits]
    student.requires_grad_()
    value = functional.kdcl(student, others, TARGET, collaboration, 1.0)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    masked = [torch.cat([one, torch.full((BATCH, 2), -math.inf, dtype=dtype)], dim=1) for one in logits]
    left = functional.kdcl(masked[0], masked[1:], TARGET, collaboration)
    torch.testing.assert_close(left, functional.kdcl(logits[0], logits[1:], TARGET, collaboration))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("collaboration", COLLABORATIONS)
def test_nothing_waits_for_the_device(collaboration: Collaboration, count: int) -> None:
    with FakeTensorMode():
        logits = [torch.rand(BATCH, CLASSES, requires_grad=True) for _ in range(count)]
        target = torch.zeros(BATCH, dtype=torch.long)
        functional.kdcl(logits[0], logits[1:], target, collaboration).backward()
        functional.generalization_weights(torch.rand(count, count))


# Contrast.


def contrast(similarities: Tensor, target: list[int]) -> Tensor:
    """As published, where each sample has another of its class: a mean of means."""
    values = []
    for i, label in enumerate(target):
        others = [k for k in range(len(target)) if k != i]
        total = torch.stack([similarities[i, k].exp() for k in others]).sum()
        values.append(
            torch.stack([-(similarities[i, p].exp() / total).log() for p in others if target[p] == label]).mean()
        )
    return torch.stack(values).mean()


def distance(own: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    wanted = (theirs.detach() / temperature).softmax(1)
    return temperature**2 * (wanted * (wanted.log() - (own / temperature).log_softmax(1))).sum(1).mean()


def test_each_learners_part_has_the_gradient_of_the_published_sum_over_all() -> None:
    """Σ_a .1·C(S_aa) + Σ_{a≠b} K(S_aa, S_bb) + Σ_{a<b} [.1·(C(S_ab) + C(S_ba)) + K(S_ab, S_ba) + K(S_ba, S_ab)]."""
    target, scale, temperature = [0, 1, 0, 2, 1, 2], 0.5, 3.0
    features = [one.requires_grad_() for one in drawn(3, 6, 4)]
    e = [one / one.square().sum(1, keepdim=True).sqrt() for one in features]
    s = {(a, b): e[a] @ e[b].T / scale for a in range(3) for b in range(3)}
    total = torch.stack([0.1 * contrast(s[a, a], target) for a in range(3)]).sum()
    for a in range(3):
        for b in range(3):
            if a != b:
                total = total + distance(s[a, a], s[b, b], temperature)
            if a < b:
                total = total + 0.1 * (contrast(s[a, b], target) + contrast(s[b, a], target))
                total = total + distance(s[a, b], s[b, a], temperature) + distance(s[b, a], s[a, b], temperature)
    expected = torch.autograd.grad(total, features)
    for own, wanted in enumerate(expected):
        mine = features[own].detach().requires_grad_()
        others = [one.detach() for place, one in enumerate(features) if place != own]
        functional.mcl(mine, others, torch.tensor(target), scale, temperature).backward()
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, wanted)


def test_a_sample_alone_in_its_class_leaves_the_contrast() -> None:
    """The public code divides by the number of the others of its class, 0."""
    one, two = (part.requires_grad_() for part in drawn(2, 4, 3))
    value = functional.mcl(one, [two.detach()], torch.tensor([0, 0, 1, -1]))
    value.backward()
    assert value.isfinite()
    assert one.grad is not None
    assert one.grad.isfinite().all()
    alone = functional.supervised_contrast(torch.zeros(3, 3, requires_grad=True), torch.tensor([0, 1, -100]))
    assert float(alone.detach()) == 0
    alone.backward()


def joined(*widths: int) -> list[MCL]:
    losses = [MCL(embedding=6) for _ in widths]
    features = [torch.rand(4, width) for width in widths]
    for place, loss in enumerate(losses):
        loss.build(features[place], features[:place] + features[place + 1 :], torch.arange(4))
    for place, loss in enumerate(losses):
        loss.see_peers(losses[:place] + losses[place + 1 :])
    return losses


def test_a_learner_trains_its_own_head_and_sees_the_peers_through_theirs() -> None:
    first, second, third = joined(5, 7, 9)
    features = [torch.rand(4, width, requires_grad=True) for width in (5, 7, 9)]
    target = torch.tensor([0, 1, 0, 1])
    value = first(features[0], features[1:], target)
    embedded = [loss.embed(one) for loss, one in zip((first, second, third), features, strict=True)]
    torch.testing.assert_close(value, functional.mcl(embedded[0], embedded[1:], target))
    value.backward()
    assert all(p.grad is not None for p in first.parameters())
    assert all(p.grad is None for loss in (second, third) for p in loss.parameters())
    assert [one.grad is not None for one in features] == [True, False, False]
    assert len([*first.parameters()]) == 4, "the peers' heads are theirs"


def test_what_cannot_be_is_one_line() -> None:
    logits = torch.zeros(2, 3)
    target = torch.tensor([0, 1])
    with pytest.raises(UserError, match=r"^collaboration=best: must be one of naive, linear, minlogit, general, mean"):
        KDCL("best")  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"^signals: KDCL takes a list of all others at once, as peers\.logits are; put"
    ):
        KDCL()(logits, logits, target)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^target=\(2, 3\): this loss needs one class for each image"):
        KDCL()(logits, [logits], logits)
    with pytest.raises(UserError, match=r"^signals=\(2, 3\) and \(2, 4\): logits of different shapes"):
        KDCL("mean")(logits, [torch.zeros(2, 4)], target)
    with pytest.raises(UserError, match=r"^temperature=0: must be a finite number above 0"):
        KDCL(temperature=0)
    with pytest.raises(UserError, match=r"^soft_vanilla=-1: must be a finite number of at least 0"):
        MCL(soft_vanilla=-1)
    with pytest.raises(UserError, match=r"^embedding=1\.5: must be a whole number"):
        MCL(embedding=1.5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^signals: one of the others has no head"):
        MCL().see_peers([None])
    with pytest.raises(UserError, match=r"^embedding=128: learners have \[64, 128\]"):
        MCL().see_peers([MCL(64)])
    with pytest.raises(ValueError, match=r"^embeddings of shapes \(2, 3\), \(2, 4\): all need one width"):
        functional.mcl(logits, [torch.zeros(2, 4)], target)
