"""Values that change with the training's progress."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.schedules import Cosine, Linear, OneMinus, Progress, Schedule, Steps, Times, Warmup
from kd_lightning.schedules.numbers import numbers_at, scheduled
from kd_lightning.schedules.progress import extremes, needs_length


@pytest.mark.parametrize(
    ("schedule", "progress", "value"),
    [
        (Warmup(8.0, 20), Progress(), 0.4),
        (Warmup(8.0, 20), Progress(epoch=0.99), 0.4),
        (Warmup(8.0, 20), Progress(epoch=1.0), 0.8),
        (Warmup(8.0, 20), Progress(epoch=3 - 1e-12), 1.6),
        (Warmup(8.0, 20), Progress(epoch=10.5), 4.4),
        (Warmup(8.0, 20), Progress(epoch=19.0), 8.0),
        (Warmup(8.0, 20), Progress(epoch=math.inf), 8.0),
        (Warmup(8.0, 20), Progress(epoch=239.9, fraction=0.99), 8.0),
        (Warmup(1.0, 1), Progress(), 1.0),
        (Linear(1.0, 0.0), Progress(), 1.0),
        (Linear(1.0, 0.0), Progress(epoch=60.0, fraction=0.25), 0.75),
        (Linear(0.5, 2.5), Progress(fraction=0.5), 1.5),
        (Linear(0.5, 2.5), Progress(fraction=1.0), 2.5),
        (Linear(0.5, 2.5), Progress(fraction=1.2), 2.5),
        (Linear(3.0, 3.0), Progress(fraction=0.3), 3.0),
        (Cosine(8.0, 2.0), Progress(), 8.0),
        (Cosine(8.0, 2.0), Progress(fraction=0.25), 2 + 6 * (1 + math.sqrt(0.5)) / 2),
        (Cosine(8.0, 2.0), Progress(epoch=3.0, fraction=0.5), 5.0),
        (Cosine(1.0, 3.0), Progress(fraction=1.0), 3.0),
        (Cosine(1.0, 3.0), Progress(fraction=1.5), 3.0),
        (Steps([4, 2, 1], epochs=[2, 5]), Progress(epoch=1.99), 4),
        (Steps([4, 2, 1], epochs=[2, 5]), Progress(epoch=2 - 1e-12), 2),
        (Steps([4, 2, 1], epochs=[2, 5]), Progress(epoch=4.9, fraction=0.99), 2),
        (Steps([4, 2, 1], epochs=[2, 5]), Progress(epoch=math.inf, fraction=1.0), 1),
        (Steps([4, 2], fractions=[0.5]), Progress(epoch=100.0, fraction=0.49), 4),
        (Steps([4, 2], fractions=[0.5]), Progress(epoch=1.0, fraction=0.5), 2),
        (OneMinus(Linear(0.9, 0.1)), Progress(fraction=0.25), 0.3),
        (Times(Linear(0.9, 0.1), 2.0), Progress(fraction=0.25), 1.4),
    ],
)
def test_values(schedule: Schedule, progress: Progress, value: float) -> None:
    assert schedule(progress) == pytest.approx(value)


@pytest.mark.parametrize("epochs", [0, -1.0, math.nan])
def test_a_warmup_takes_time(epochs: float) -> None:
    with pytest.raises(UserError, match=f"^epochs={epochs}: .*give a plain number instead"):
        Warmup(1.0, epochs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(math.nan, 1), "^start=nan: must be a finite number"),
        (lambda: Cosine(1, "2"), "^end=2: must be a finite number"),  # type: ignore[arg-type]
        (lambda: Steps([1, 2]), "^epochs=None: give the milestones either as epochs or as fractions"),
        (lambda: Steps([1, 2], epochs=[3], fractions=[0.5]), "either as epochs or as fractions"),
        (lambda: Steps([1, 2], epochs=[3, 4]), r"^values=\[1, 2\]: 2 milestones lie between 3 values"),
        (lambda: Steps([1, 2, 3], epochs=[4, 3]), r"^epochs=\[4, 3\]: must ascend"),
        (lambda: Steps([1, 2], fractions=[1.0]), r"^fractions=\[1\.0\]: must ascend between 0 and 1"),
        (lambda: Steps([1, math.inf], epochs=[3]), r"^values\.1=inf: must be a finite number"),
    ],
)
def test_what_is_no_schedule(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("schedule", "asks"),
    [
        (Linear(1, 2), True),
        (Cosine(1, 2), True),
        (OneMinus(Linear(1, 2)), True),
        (Steps([1, 2], fractions=[0.5]), True),
        (Steps([1, 2], epochs=[5]), False),
        (OneMinus(Warmup(1, 5)), False),
    ],
)
def test_who_asks_for_the_length_of_the_training(schedule: Schedule, asks: bool) -> None:
    assert needs_length(schedule) == asks


@pytest.mark.parametrize(
    "schedule",
    [
        Linear(3, -1),
        Cosine(-2, 5),
        Warmup(-3, 4),
        Steps([1, 7, 2], epochs=[1, 3]),
        OneMinus(Steps([3, 1], [2])),
        Times(Linear(1, -1), -2),
    ],
)
def test_a_schedule_stays_between_its_extremes(schedule: Schedule) -> None:
    taken = [schedule(Progress(epoch=step / 10, fraction=step / 100)) for step in range(101)]
    assert min(extremes(schedule)) <= min(taken)
    assert max(taken) <= max(extremes(schedule))


def test_the_numbers_of_an_object_stand_in_for_its_schedules() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()
            self.inner.margin = Linear(0, 4)  # type: ignore[assignment]
            self.powers, self.plain = (2.0, Cosine(1, 3)), [1.0, 2.0]

    loss = Loss()
    before = [dict(vars(part)) for part in loss.modules()]
    with numbers_at(scheduled(loss), Progress(fraction=0.5)):
        assert (loss.inner.margin, loss.powers, loss.plain) == (2.0, [2.0, pytest.approx(2.0)], [1.0, 2.0])
    with pytest.raises(RuntimeError), numbers_at(scheduled(loss), Progress()):
        raise RuntimeError
    assert [dict(vars(part)) for part in loss.modules()] == before
    assert scheduled(torch.nn.functional.relu) == scheduled("student.logits") == scheduled(None) == []
