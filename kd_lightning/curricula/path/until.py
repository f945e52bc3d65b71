"""What is to hold for a training to end: all goals mastered, or metrics that reach values."""

from collections.abc import Mapping

from kd_lightning.errors import UserError
from kd_lightning.schedules.progress import Assessment

MASTERED, VALIDATION = "mastered", "val/"


class Until:
    """`mastered`, or values of metrics by name, with `val/` before them or without. Raises UserError for others."""

    def __init__(self, given: object) -> None:
        self.values: dict[str, float] = {}
        if isinstance(given, Mapping) and given:
            for name, value in given.items():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise UserError(f"until.{name}={value}: must be a number, which the metric has to reach")
                self.values[str(name).removeprefix(VALIDATION)] = float(value)
        elif given != MASTERED:
            raise UserError(
                f"until={given}: must be mastered, or values of metrics such as {{{VALIDATION}accuracy: 0.95}}"
            )

    def __str__(self) -> str:
        if not self.values:
            return MASTERED
        return f"{{{', '.join(f'{VALIDATION}{name}: {value:g}' for name, value in self.values.items())}}}"

    def holds(self, results: Assessment, are_mastered: bool) -> bool:
        """Whether it does after an assessment. Raises UserError for a metric that was not measured."""
        for name in self.values:
            if name not in results.metrics:
                raise UserError(
                    f"curriculum.until.{VALIDATION}{name}: validation measures no such metric; it measures "
                    f"{', '.join(VALIDATION + one for one in results.metrics)}"
                )
        if not self.values:
            return are_mastered
        return all(
            results.metrics[name] <= value if name in results.falling else results.metrics[name] >= value
            for name, value in self.values.items()
        )
