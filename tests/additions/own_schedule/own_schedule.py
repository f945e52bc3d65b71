"""A schedule of one's own: the temperature cools as the student gets better on the validation data."""

from dataclasses import dataclass

from kd_lightning.schedules import Progress, Schedule


@dataclass(frozen=True)
class Cooling(Schedule):
    """From `hot`, where it knows nothing, to `cold`, where it is always right."""

    hot: float
    cold: float = 1.0

    def __call__(self, progress: Progress) -> float:
        seen = progress.assessment
        right = 0.0 if seen is None else seen.metrics["top1"]
        return self.hot + (self.cold - self.hot) * right

    def extremes(self) -> tuple[float, float]:
        return self.hot, self.cold
