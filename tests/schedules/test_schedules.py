"""Values that change with the training's progress."""

import math

import pytest

from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import Linear, Progress, Schedule, Warmup


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
    ],
)
def test_values(schedule: Schedule, progress: Progress, value: float) -> None:
    assert schedule(progress) == pytest.approx(value)


@pytest.mark.parametrize("epochs", [0, -1.0, math.nan])
def test_a_warmup_takes_time(epochs: float) -> None:
    with pytest.raises(UserError, match=f"^epochs={epochs}: .*give a plain number instead"):
        Warmup(1.0, epochs)
