"""Multi-level logits: which views and which shares are in the sum, against the public code's terms."""

import numpy as np
import pytest
import torch

from kd_lightning.errors import UserError
from kd_lightning.losses import MLKD, functional
from tests.losses.case import draw
from tests.losses.oracles import logits as oracle

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)
VIEWS = [torch.from_numpy(draw(6, 5, seed=seed)) for seed in range(4)]


def test_half_of_the_images_and_classes_where_none_are_tied() -> None:
    weak, strong = VIEWS[:2], VIEWS[2:]
    expected = sum(
        0.5 * functional.kd(*weak, t)
        + functional.kd(*strong, t)
        + 0.6 * functional.class_correlation(*weak, t)  # 3 of 5 classes are at most the median
        + 0.5 * functional.batch_correlation(*weak, t)
        for t in TEMPERATURES
    )
    assert MLKD(strong_temperatures=TEMPERATURES)(*VIEWS).item() == pytest.approx(float(expected), rel=1e-12)


def test_all_images_count_where_the_teacher_is_equally_sure_of_most() -> None:
    """A median that many share: float32 confidences of 1."""
    teacher = torch.eye(5)[[0, 1, 2, 3, 4, 0]] * 100
    student, _, student_strong, teacher_strong = (view.float() for view in VIEWS)
    value = functional.mlkd(student, teacher, student_strong, teacher_strong, (4.0,), (4.0,))
    expected = (
        functional.kd(student, teacher)
        + functional.kd(student_strong, teacher_strong)
        + 0.8 * functional.class_correlation(student, teacher)  # class 0 has two images
        + functional.batch_correlation(student, teacher)
    )
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_strong_views_have_no_correlations() -> None:
    """The public code computes, then drops them; so a strong view's change moves the instance terms alone."""
    other = [VIEWS[0], VIEWS[1], VIEWS[3], VIEWS[2]]
    change = functional.mlkd(*other) - functional.mlkd(*VIEWS)
    expected = sum(functional.kd(*other[2:], t) - functional.kd(*VIEWS[2:], t) for t in (3.0, 4.0, 5.0))
    assert change.item() == pytest.approx(float(expected), rel=1e-9)


def test_the_class_is_the_published_sum() -> None:
    arrays = [view.numpy() for view in VIEWS]
    assert MLKD()(*VIEWS).item() == pytest.approx(oracle.mlkd(*arrays, TEMPERATURES), rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_shares_are_those_of_numpys_percentile(size: int) -> None:
    values = np.random.default_rng(size).exponential(size=size).round(1)  # skewed, some tied
    share = functional.logits.multi_level._share_up_to_median(torch.from_numpy(values))
    assert share.item() == pytest.approx(np.mean(values <= np.percentile(values, 50)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperatures": []}, r"^temperatures=\[\]: needs at least one"),
        ({"temperatures": [4.0, 0.0]}, r"^temperatures=0.0: must be a finite number above 0$"),
        ({"temperatures": [4.0]}, r"^strong_temperatures=\[3.0, 4.0, 5.0\]: must be among temperatures=\[4.0\]$"),
    ],
)
def test_bad_temperatures(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MLKD(**arguments)
