"""Samples without a label leave the losses that take one; logits that are not (N, C) are refused by every loss."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.losses import (
    CRD,
    CSKD,
    DDGSD,
    DIST,
    DKD,
    MLKD,
    OFA,
    WSLD,
    BernoulliKD,
    BinaryCrossEntropy,
    CrossEntropy,
    CurriculumTemperature,
    HardLabel,
    LogitStandardization,
    MeanSquaredLogits,
    RegressionKD,
    SoftTarget,
    functional,
)

WITH_LABELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda s, t, y: functional.cross_entropy(s, y),
    "smoothed": lambda s, t, y: functional.cross_entropy(s, y, 0.2),
    "dkd": functional.dkd,
    "wsld": functional.wsld,
    "ofa": functional.ofa,
    "cs_kd": functional.cs_kd,
    "DKD": DKD(),
    "CSKD": CSKD(),
    "WSLD": WSLD(),
    "CrossEntropy": lambda s, t, y: CrossEntropy()(s, y),
    "standardized": LogitStandardization(DKD()),
}
ON_LOGITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kd": functional.kd,
    "dkd": lambda s, t: functional.dkd(s, t, torch.zeros(len(s), dtype=torch.long)),
    "dist": functional.dist,
    "ls": functional.logit_standardization_kd,
    "standardize": lambda s, t: functional.standardize(s) + functional.standardize(t),
    "wsld": lambda s, t: functional.wsld(s, t, torch.zeros(len(s), dtype=torch.long)),
    "ofa": lambda s, t: functional.ofa(s, t, torch.zeros(len(s), dtype=torch.long)),
    "hard_label": functional.hard_label,
    "mean_squared_logits": functional.mean_squared_logits,
    "bernoulli_kd": functional.bernoulli_kd,
    "bce": lambda s, t: functional.bce(s, t.round()),
    "class_correlation": functional.class_correlation,
    "batch_correlation": functional.batch_correlation,
    "mlkd": lambda s, t: functional.mlkd(s, t, s, t),
    "cs_kd": lambda s, t: functional.cs_kd(s, t, torch.zeros(len(s), dtype=torch.long)),
    "ddgsd": functional.ddgsd,
    "srrl": lambda s, t: functional.srrl(torch.zeros(2, 3), torch.ones(2, 3), s, t),
    "cross_entropy": lambda s, t: functional.cross_entropy(s, torch.zeros(len(s), *s.shape[2:], dtype=torch.long)),
}
MODULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SoftTarget": SoftTarget(),
    "HardLabel": HardLabel(),
    "MeanSquaredLogits": MeanSquaredLogits(),
    "RegressionKD": RegressionKD(),
    "BernoulliKD": BernoulliKD(),
    "BinaryCrossEntropy": lambda s, t: BinaryCrossEntropy()(s, t.round()),
    "DIST": DIST(),
    "DDGSD": DDGSD(),
    "LogitStandardization": LogitStandardization(SoftTarget()),
    "CurriculumTemperature": lambda s, t: CurriculumTemperature()(s, t, torch.tensor(1.0)),
    "MLKD": lambda s, t: MLKD()(s, t, s, t),
    "DKD": lambda s, t: DKD()(s, t, torch.zeros(len(s), dtype=torch.long)),
    "WSLD": lambda s, t: WSLD()(s, t, torch.zeros(len(s), dtype=torch.long)),
    "CrossEntropy": lambda s, t: CrossEntropy()(s, torch.zeros(len(s), *s.shape[2:], dtype=torch.long)),
}


@pytest.mark.parametrize("name", WITH_LABELS)
@pytest.mark.parametrize("none", [[-1, -1], [-100, -100], [-1, -100]])
def test_samples_without_a_label_leave_the_loss(name: str, none: list[int]) -> None:
    loss, (student, teacher) = WITH_LABELS[name], torch.randn(2, 5, 4, dtype=torch.float64)
    student.requires_grad_()
    target = torch.tensor([2, none[0], 0, 3, none[1]])
    value = loss(student, teacher, target)
    labelled = [0, 2, 3]
    expected = loss(student[labelled], teacher[labelled], target[labelled])
    torch.testing.assert_close(value, expected)
    slopes = [torch.autograd.grad(one, student)[0] for one in (value, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_a_batch_without_any_label_costs_nothing(name: str) -> None:
    student = torch.randn(3, 4, requires_grad=True)
    value = WITH_LABELS[name](student, torch.randn(3, 4), torch.tensor([-1, -100, -1]))
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == 0.0
    assert gradient.tolist() == torch.zeros(3, 4).tolist()


@pytest.mark.parametrize("name", [name for name in WITH_LABELS if name not in ("cs_kd", "CSKD")])  # which look none up
@pytest.mark.parametrize("label", [4, -2])
def test_no_other_number_passes_for_no_label(name: str, label: int) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        WITH_LABELS[name](torch.randn(2, 4), torch.randn(2, 4), torch.tensor([0, label]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_may_be_of_any_integer_type(dtype: torch.dtype) -> None:
    student, teacher, target = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, 0, 3])
    for name, loss in WITH_LABELS.items():
        assert torch.equal(loss(student, teacher, target.to(dtype)), loss(student, teacher, target)), name


def test_contrast_leaves_out_samples_without_a_label() -> None:
    """They are no one's negatives, are not remembered, and move nothing."""
    index, target = torch.arange(6), torch.tensor([0, 1, -1, 0, 1, -100])
    loss = CRD(embedding=4, negatives=8)
    student, teacher = torch.randn(6, 3, requires_grad=True), torch.randn(6, 5)
    loss.build(student, teacher, index, target, index, target)
    assert len(loss.images) == 4
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    (gradient,) = torch.autograd.grad(loss(student, teacher, index, target), student)
    assert gradient[[2, 5]].abs().max() == 0
    assert gradient[[0, 1, 3, 4]].abs().sum(1).min() > 0
    loss.load_state_dict(before)
    value = loss(student[[2, 5]], teacher[[2, 5]], index[[2, 5]], target[[2, 5]])
    assert value.item() == 0.0
    assert torch.equal(loss.student_bank.embeddings, before["student_bank.embeddings"])


def test_contrast_needs_a_label() -> None:
    index = torch.arange(4)
    with pytest.raises(UserError, match="no training image has a label"):
        CRD().build(torch.randn(4, 3), torch.randn(4, 3), index, index, index, torch.full((4,), -1))


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 7, 4, 4), (7,)])
@pytest.mark.parametrize("name", ON_LOGITS)
def test_what_is_not_a_row_of_classes_for_each_sample_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(N, C\)") as error:
        ON_LOGITS[name](torch.randn(shape), torch.randn(shape))
    assert "\n" not in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("shapes", [((4, 7), (4, 10)), ((4, 7), (5, 7)), ((4, 7), (1, 7)), ((4, 1), (4, 7))])
@pytest.mark.parametrize("name", [name for name in ON_LOGITS if name not in ("cross_entropy", "standardize", "bce")])
def test_logits_of_different_shapes_are_refused(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    student, teacher = (torch.randn(shape) for shape in shapes)
    with pytest.raises(ValueError, match="logits of different shapes"):
        ON_LOGITS[name](student, teacher)


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 7, 4, 4)])
@pytest.mark.parametrize("name", MODULES)
def test_modules_refuse_them_as_bad_input(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"^signals=.*\(N, C\)"):
        MODULES[name](torch.randn(shape), torch.randn(shape))


def test_heads_on_stages_do_not_hide_it() -> None:
    loss, logits, stages, target = OFA(), torch.randn(2, 7), [torch.randn(2, 3, 4, 4)], torch.tensor([0, -1])
    loss.build(logits, stages, logits, target)
    assert loss(logits, stages, logits, target).isfinite()
    with pytest.raises(UserError, match=r"\(2, 7\) and \(2, 9\): logits of different shapes"):
        loss(logits, stages, torch.randn(2, 9), target)


@pytest.mark.parametrize(
    "target",
    [torch.rand(4), torch.zeros(4, 1, dtype=torch.long), torch.rand(4, 1), torch.zeros(3, dtype=torch.long)],
    ids=["numbers", "a column", "a column of numbers", "too few"],
)
def test_targets_that_are_no_labels_are_refused(target: Tensor) -> None:
    with pytest.raises(UserError, match="class indices"):
        CrossEntropy()(torch.randn(4, 6), target)
