"""Learning-rate schedules, against closed formulas."""

import math
import warnings
from collections.abc import Callable

import pytest
import torch

from kd_lightning.errors import UserError
from kd_lightning.schedules.learning_rate import Cosine, LearningRateSchedule, Step

BASE = 0.05


def learning_rates(schedule: LearningRateSchedule, total: int, base: float = BASE) -> list[float]:
    """The learning rate of each epoch or step, then the one that would follow."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The epoch parameter in")  # torch 2.6 warns of its own SequentialLR
        scheduler = schedule(optimizer, total)
        rates = [optimizer.param_groups[0]["lr"]]
        for _ in range(total):
            optimizer.step()
            scheduler.step()
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


def constant(n: int, total: int) -> float:
    return 1.0


def cosine(n: int, total: int) -> float:
    return (1 + math.cos(math.pi * n / total)) / 2


def warm(warmup: int, after: Callable[[int, int], float]) -> Callable[[int, int], float]:
    """Rises in equal parts, such that 1 would come right after the warm-up; what follows counts from its end."""
    return lambda n, total: (n + 1) / (warmup + 1) if n < warmup else after(n - warmup, total - warmup)


def steps(*milestones: int, factor: float = 0.1) -> Callable[[int, int], float]:
    return lambda n, total: factor ** sum(n >= milestone for milestone in milestones)


def warm_steps(warmup: int, *milestones: int) -> Callable[[int, int], float]:
    """Milestones count from the training's start, whatever the warm-up."""
    return lambda n, total: (n + 1) / (warmup + 1) if n < warmup else steps(*milestones)(n, total)


CASES: dict[str, tuple[LearningRateSchedule, int, Callable[[int, int], float]]] = {
    "constant": (LearningRateSchedule(), 7, constant),
    "constant after a warm-up": (LearningRateSchedule(warmup=0.2), 10, warm(2, constant)),
    "cosine": (Cosine(), 240, cosine),
    "cosine of one epoch": (Cosine(), 1, cosine),
    "cosine after a warm-up": (Cosine(warmup=0.05), 100, warm(5, cosine)),
    "cosine per step": (Cosine(interval="step", warmup=0.1), 1000, warm(100, cosine)),
    "a warm-up to the end": (Cosine(warmup=0.99), 10, warm(10, constant)),
    "a warm-up below half an epoch": (Cosine(warmup=0.01), 30, cosine),
    "steps of 240 epochs": (Step(), 240, steps(150, 180, 210)),
    "steps per step": (Step(interval="step", milestones=[0.5, 0.75], factor=0.2), 800, steps(400, 600, factor=0.2)),
    "no milestone": (Step(milestones=[]), 5, constant),
    "milestones in any order": (Step(milestones=[0.75, 0.25]), 8, steps(2, 6)),
    "milestones that fall together": (Step(milestones=[0.5, 0.51]), 10, steps(5, 5)),
    "steps after a warm-up": (Step(warmup=0.1), 240, warm_steps(24, 150, 180, 210)),
    "a warm-up up to a milestone": (Step(warmup=0.625), 240, warm_steps(150, 150, 180, 210)),
    "a warm-up longer than a milestone": (Step(warmup=0.7), 240, warm_steps(168, 150, 180, 210)),
    "a warm-up longer than two milestones": (Step(warmup=0.8), 240, warm_steps(192, 150, 180, 210)),
}


@pytest.mark.parametrize("case", CASES)
def test_follows_its_formula(case: str) -> None:
    schedule, total, formula = CASES[case]
    expected = [BASE * formula(n, total) for n in range(total + 1)]
    assert learning_rates(schedule, total) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_the_published_epochs() -> None:
    """CRD's and most later experiments: 240 epochs, 0.05 divided by 10 at 150, 180 and 210."""
    rates = learning_rates(Step(), 240)
    changes = [epoch for epoch in range(1, 241) if rates[epoch] != pytest.approx(rates[epoch - 1])]
    assert changes == [150, 180, 210]
    assert [rates[epoch] for epoch in (149, 150, 180, 210)] == pytest.approx([0.05, 0.005, 5e-4, 5e-5])


def test_groups_keep_their_ratio() -> None:
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [one], "lr": 1.0}, {"params": [two], "lr": 0.1}])
    scheduler = Cosine(warmup=0.2)(optimizer, 10)
    for _ in range(10):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates[1] == pytest.approx(rates[0] / 10)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", [Cosine(warmup=0.3), Step(warmup=0.7), Step()], ids=str)
@pytest.mark.parametrize("stop", [1, 6, 15])
def test_goes_on_where_a_checkpoint_stopped(schedule: LearningRateSchedule, stop: int) -> None:
    def make() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
        return optimizer, schedule(optimizer, 20)

    optimizer, scheduler = make()
    for _ in range(stop):
        optimizer.step()
        scheduler.step()
    states = optimizer.state_dict(), scheduler.state_dict()
    optimizer, scheduler = make()
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    rest = []
    for _ in range(stop, 20):
        rest.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rest == pytest.approx(learning_rates(schedule, 20)[stop:20])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(interval="batch"), r"^scheduler.interval=batch: must be epoch or step"),  # type: ignore[arg-type]
        (lambda: Cosine(warmup=1.0), r"^scheduler.warmup=1.0: a share of the training"),
        (lambda: Step(warmup=-0.1), r"^scheduler.warmup=-0.1: "),
        (lambda: LearningRateSchedule(warmup=5), r"^scheduler.warmup=5: "),
        (lambda: Cosine(warmup=math.nan), r"^scheduler.warmup=nan: "),
        (lambda: Step(milestones=[150, 180]), r"^scheduler.milestones=\[150, 180\]: shares of the training"),
        (lambda: Step(milestones=[0.5, 1.0]), r"^scheduler.milestones=\[0.5, 1.0\]: "),
        (lambda: Step(milestones=[0.0]), r"^scheduler.milestones=\[0.0\]: "),
    ],
)
def test_bad_values(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
