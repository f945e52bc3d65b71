"""What each sample counts: ready functions of signals, against an independent computation in plain Python."""

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.losses.sample_weights import EntropyOfBoth, SelfPaced, TeacherCorrect
from kd_lightning.objective import Objective, Term
from kd_lightning.schedules import Linear, Progress

TARGET = torch.tensor([0, 1, 2, 1, -1])
CHANCE = torch.Generator().manual_seed(0)
STUDENT, TEACHER = 3 * torch.randn(2, 5, 4, generator=CHANCE, dtype=torch.float64)
SIGNALS = {"student.logits": STUDENT, "teacher.logits": TEACHER, "target": TARGET}


def softmax(logits: Tensor, temperature: float = 1.0) -> list[float]:
    powers = [math.exp(value / temperature) for value in logits.tolist()]
    return [power / sum(powers) for power in powers]


def entropy(logits: Tensor, temperature: float) -> float:
    return -sum(p * math.log(p) for p in softmax(logits, temperature))


@pytest.mark.parametrize(("divisor", "largest"), [(None, math.log(4)), (100.0, 100.0)])
@pytest.mark.parametrize("temperature", [2.0, 3.0])
def test_the_entropy_of_both(temperature: float, divisor: float | None, largest: float) -> None:
    expected = [
        0.5 * entropy(t, temperature) * (1 + entropy(s, temperature) / largest)
        for s, t in zip(STUDENT, TEACHER, strict=True)
    ]
    assert EntropyOfBoth(temperature, divisor)(SIGNALS).tolist() == pytest.approx(expected, rel=1e-9)


def test_where_the_teacher_is_right() -> None:
    right = [max(range(4), key=row.__getitem__) == label for row, label in zip(TEACHER.tolist(), TARGET, strict=True)]
    assert TeacherCorrect()(SIGNALS).tolist() == [float(one) for one in right]


@pytest.mark.parametrize("kind", ["hard", "linear"])
@pytest.mark.parametrize("threshold", [0.5, 3.0])
def test_what_is_learned_well_enough(kind: str, threshold: float) -> None:
    expected = []
    for row, label in zip(STUDENT, TARGET.tolist(), strict=True):
        loss = math.inf if label < 0 else -math.log(softmax(row)[label])
        expected.append(float(loss < threshold) if kind == "hard" else max(0.0, 1 - loss / threshold))
    assert SelfPaced(threshold, kind)(SIGNALS).tolist() == pytest.approx(expected, rel=1e-9)


def test_a_schedule_may_raise_the_threshold() -> None:
    term = Term(CrossEntropy(), ["student.logits", "target"], sample_weight=SelfPaced(Linear(start=1e-6, end=1e6)))
    objective = Objective({"ce": term})
    assert float(objective(SIGNALS, Progress(fraction=0.0)).total) == 0
    assert float(objective(SIGNALS, Progress(fraction=1.0)).total) > 0


def test_weights_pass_no_gradient() -> None:
    student = STUDENT.clone().requires_grad_()
    kd = Term(SoftTarget(temperature=4.0), ["student.logits", "teacher.logits"], sample_weight=EntropyOfBoth())
    total = Objective({"kd": kd})({**SIGNALS, "student.logits": student}, Progress()).total
    (found,) = torch.autograd.grad(total, student)
    weights = EntropyOfBoth()(SIGNALS)
    fixed = Term(SoftTarget(temperature=4.0), ["student.logits", "teacher.logits"], sample_weight=lambda _: weights)
    total = Objective({"kd": fixed})({**SIGNALS, "student.logits": student}, Progress()).total
    torch.testing.assert_close(found, torch.autograd.grad(total, student)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: EntropyOfBoth(temperature=0.0), "temperature=0"),
        (lambda: EntropyOfBoth(divisor=-1.0), "divisor=-1"),
        (lambda: SelfPaced(threshold=0.0), "threshold=0"),
        (lambda: SelfPaced(kind="soft"), "kind=soft"),
    ],
)
def test_bad_values_are_refused(make, word: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=word):
        make()
