"""What an exported network gives, beside what the network itself does; and how fast it gives it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd_lightning.errors import UserError
from kd_lightning.exporting.formats import Run

# Engines add float32 numbers in another order, fold normalisations into convolutions, and approximate exp and erf: of
# the seven digits that float32 keeps, this costs up to three.
RELATIVE = 1e-4
WARM_UP, RUNS, LONGEST_S = 5, 100, 1.0


@dataclass(frozen=True)
class Comparison:
    """The largest difference of two outputs, and what it may be; of classes, how many samples get the same.

    `decided` samples have a margin between the two likeliest classes of more than twice the difference, so that no
    such difference could swap them; None where the outputs are not of classes.
    """

    samples: int
    largest: float
    bound: float
    same: int | None = None
    decided: int | None = None

    @classmethod
    def of(cls, expected: Tensor, given: Tensor, *, of_classes: bool) -> "Comparison":
        """Of outputs (B, …); as classes of (B, C)."""
        difference = torch.where(expected == given, 0.0, expected.double() - given.double())  # -inf of masked classes
        largest = difference.abs().max().item()
        bound = RELATIVE * max(1.0, expected[expected.isfinite()].abs().amax().item())
        if not (of_classes and expected.ndim == 2 and expected.shape[1] > 1):
            return cls(len(expected), largest, bound)
        first, second = expected.double().topk(2, dim=1).values.unbind(1)
        same = expected.argmax(1) == given.argmax(1)
        decided = first - second > 2 * largest
        assert bool(same[decided].all())
        return cls(len(expected), largest, bound, int(same.sum()), int(decided.sum()))

    def check(self, key: str) -> None:
        """Raise UserError where the outputs differ by more than rounding."""
        if not self.largest <= self.bound:  # nor where it is NaN
            raise UserError(
                f"{key}: its outputs differ from the network's by {self.largest:.3g}, and rounding explains "
                f"{self.bound:.3g} (1e-4 of the largest output, 1 at least); nothing was written. Look for what the "
                "network decides by the values of the images that it was traced with"
            )


@dataclass(frozen=True)
class Latency:
    """Milliseconds that a batch takes: the median, and what 95 of 100 are below."""

    p50: float
    p95: float

    @classmethod
    def of(cls, run: Run, inputs: Sequence[Tensor]) -> "Latency":
        times: list[float] = []
        began = time.perf_counter()
        for number in range(WARM_UP + RUNS):
            start = time.perf_counter()
            run(inputs)
            end = time.perf_counter()
            if number >= WARM_UP:
                times.append(1000 * (end - start))
            if times and end - began > LONGEST_S:
                break
        p50, p95 = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.5, 0.95], dtype=torch.float64))
        return cls(p50.item(), p95.item())


def repeated(inputs: Sequence[Tensor], size: int) -> list[Tensor]:
    """Inputs as a batch of this size, by repeating their samples."""
    return [one[torch.arange(size) % len(one)].contiguous() for one in inputs]
