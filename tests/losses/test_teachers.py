"""Losses of several teachers: what each weighs, and one made several by noise."""

import pytest
import torch
from torch import Tensor

from kd_lightning import Objective, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CAMKD, CRD, SoftTarget, TeKAP
from kd_lightning.losses.functional import (
    confidence_weights,
    entropy_weights,
    kd,
    mean_probabilities,
    min_norm_weights,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("most", [1.0, 0.6, 0.35])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_shortest_combination_is_the_shortest(count: int, most: float) -> None:
    """By the conditions of its optimum, which are sufficient: the problem is convex."""
    for seed in range(5):
        gradients = drawn(count, 7, seed=seed)
        weights, bound = min_norm_weights(gradients, most), max(most, 1 / count)
        assert float(weights.sum()) == pytest.approx(1)
        assert ((weights >= 0) & (weights <= bound + 1e-9)).all()
        slopes = gradients @ gradients.T @ weights
        free = (weights > 1e-6) & (weights < bound - 1e-6)
        if free.any():
            level = slopes[free].mean()
            torch.testing.assert_close(slopes[free], level.expand_as(slopes[free]), rtol=1e-5, atol=1e-5)
            assert (slopes[weights <= 1e-6] >= level - 1e-5).all(), "more of one at 0 would not shorten it"
            assert (slopes[weights >= bound - 1e-6] <= level + 1e-5).all(), "nor would less of one at its bound"
        else:  # all at a bound
            assert slopes[weights <= 1e-6].amin() >= slopes[weights > 1e-6].amax() if count * bound > 1 + 1e-9 else True


def test_two_gradients_have_a_closed_form() -> None:
    one, two = drawn(2, 4)
    share = float(((two - one) @ two / (one - two).square().sum()).clamp(0, 1))
    torch.testing.assert_close(min_norm_weights(torch.stack([one, two])), torch.tensor([share, 1 - share]).double())


def test_no_gradients_and_equal_ones_weigh_something() -> None:
    for gradients in (torch.zeros(3, 4), torch.ones(3, 4)):
        weights = min_norm_weights(gradients)
        assert weights.isfinite().all()
        assert float(weights.sum()) == pytest.approx(1)


def test_weights_of_samples_have_sum_one() -> None:
    logits, target = drawn(4, 6, 5), torch.tensor([0, 1, 2, 3, -1, -100])
    for weights in (confidence_weights(logits, target), entropy_weights(logits)):
        torch.testing.assert_close(weights.sum(dim=0), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(confidence_weights(logits, target)[:, 4:], torch.full((4, 2), 0.25).double())
    alone = drawn(1, 6, 5)
    assert (confidence_weights(alone, target) == 1).all()
    assert (entropy_weights(alone) == 1).all()
    masked = torch.cat([logits, torch.full((4, 6, 1), -torch.inf, dtype=torch.float64)], dim=2)
    torch.testing.assert_close(entropy_weights(masked), entropy_weights(logits))
    assert entropy_weights(1e4 * logits).isfinite().all()


def test_the_mean_of_probabilities_is_not_that_of_logits() -> None:
    logits = drawn(3, 6, 5)
    mean = mean_probabilities(logits).exp()
    torch.testing.assert_close(mean, logits.softmax(dim=2).mean(dim=0))
    assert not torch.allclose(mean, logits.mean(dim=0).softmax(dim=1), atol=0.01)


def test_a_features_loss_of_several_teachers_has_a_gradient() -> None:
    """The public FitNet baseline of several teachers makes a new tensor of its losses, and has none."""
    student = [drawn(4, 6, 2, 2, seed=seed).requires_grad_() for seed in (0, 1)]
    teachers = [drawn(4, 6, 2, 2, seed=seed) for seed in (2, 3)]
    classifiers = [drawn(5, 6)] * 2, [drawn(5)] * 2
    CAMKD()(student, teachers, *classifiers, torch.tensor([0, 1, 2, 3])).backward()
    assert all(one.grad is not None and one.grad.abs().min() > 0 for one in student)


def test_perturbed_teachers_stand_beside_the_teacher() -> None:
    student, teacher = drawn(6, 5).requires_grad_(), drawn(6, 5, seed=1)
    loss = TeKAP(SoftTarget(temperature=4.0), teachers=2, share=0.25, deviation=3.0, weight=0.5)
    torch.manual_seed(7)
    value = loss(student, teacher)
    torch.manual_seed(7)
    seen = [0.75 * teacher + 0.25 * 3.0 * torch.randn_like(teacher) for _ in range(2)]
    expected = kd(student, teacher, 4.0) + 0.5 * sum(kd(student, one, 4.0) for one in seen)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert student.grad is not None
    assert not torch.equal(loss(student, teacher), loss(student, teacher)), "drawn anew"
    loss.eval()
    assert torch.equal(loss(student, teacher), loss(student, teacher))
    assert loss.soft_target


@pytest.mark.parametrize(
    "given", [{"teachers": 0}, {"share": 0.0}, {"share": 1.5}, {"deviation": -1.0}, {"weight": 0.0}]
)
def test_what_perturbs_nothing_is_refused(given: dict[str, float]) -> None:
    ((name, value),) = given.items()
    with pytest.raises(UserError, match=rf"^{name}={value}: "):
        TeKAP(SoftTarget(), **given)  # type: ignore[arg-type]


def test_features_of_a_contrast_are_perturbed_too() -> None:
    """The bank and the labels of the training images are the loss's own, whoever asks it."""
    index, target = torch.arange(40), torch.arange(40) % 4
    student, teacher = torch.randn(8, 6), torch.randn(8, 12)
    term = Term(
        TeKAP(CRD(embedding=8, negatives=16), teachers=1, deviation=0.1, weight=1.0),
        ["student.pooled", "teacher.pooled", "index", "target", "train.index", "train.target"],
    )
    objective = Objective({"crd": term})
    signals = {"student.pooled": student, "teacher.pooled": teacher, "index": index[:8], "target": target[:8]}
    signals |= {"train.index": index, "train.target": target}
    objective.build(signals)
    value = objective.train()(signals).total
    value.backward()
    assert value.isfinite()
    gradients = [one.grad for one in objective.parameters()]
    assert gradients
    assert all(one is not None and one.isfinite().all() for one in gradients)


def test_what_no_classifier_takes_is_refused() -> None:
    tokens = [torch.rand(2, 9, 6)] * 2
    with pytest.raises(UserError, match=r"^signals=\(9, 6\) and a classifier of 6: takes maps"):
        CAMKD().build(tokens, tokens, [torch.rand(5, 6)] * 2, [torch.rand(5)] * 2, torch.tensor([0, 1]))
    vectors, classifiers = [torch.rand(2, 6)] * 2, ([torch.rand(5, 6)] * 2, [torch.rand(5)] * 2)
    CAMKD().build(vectors, vectors, *classifiers, torch.tensor([0, 1]))
    assert float(CAMKD()(vectors, vectors, *classifiers, torch.tensor([0, 1]))) == 0
