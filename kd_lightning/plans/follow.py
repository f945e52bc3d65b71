"""Following a plan."""

from collections.abc import Callable

from kd_lightning.plans.plan import Step, Steps
from kd_lightning.training.steps import Trained


def follow(steps: Steps, carry_out: Callable[[Step], Trained]) -> None:
    """Have each step of a plan carried out, and hand the plan what it gave."""
    given: Trained | None = None
    while True:
        try:
            step = next(steps) if given is None else steps.send(given)
        except StopIteration:
            return
        given = carry_out(step)
