"""What is shown of a training at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kd_lightning.columns import VALIDATED, Compared
from kd_lightning.tracking.confusions import Confusions

COST = ("params", "flops", "latency_ms", "latency_iqr_ms")


@dataclass(frozen=True)
class Outcome:
    """What is shown of a training at its end.

    `metrics` are its own, by name; `arrays` may hold, of a classification, `class_names`; `confusions` (K, 3): true
    class, predicted class, images; and `bins` (15, 3): count, confidence, accuracy.

    Where networks are compared here, `networks` are their records by name, of which `result` names the run's own and
    `learned_from` those that it learned from; `compared` tells the columns, and `weights` is the file of the result.
    """

    metrics: Mapping[str, float]
    arrays: Mapping[str, np.ndarray]
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    result: str = ""
    learned_from: Sequence[str] = ()
    compared: Compared | None = None
    data: str = ""
    weights: Path | None = None

    def columns(self) -> list[str]:
        """What a comparison holds of each network: its model, the task's metrics, its cost."""
        return ["model", *(column.name for column in (self.compared.columns if self.compared else ())), *COST]

    def table(self) -> list[list[Any]]:
        """A row for each network: its name, then `columns`."""
        return [[key, *(record.get(name) for name in self.columns())] for key, record in self.networks.items()]

    def confusions(self) -> Confusions | None:
        """Which classes it takes for which; None where it was not tested."""
        rows = self.arrays.get("confusions")
        return None if rows is None else Confusions(rows, len(self.class_names()))

    def class_names(self) -> list[str]:
        """In order."""
        return [str(name) for name in self.arrays["class_names"]]

    def reliability(self) -> tuple[list[float], list[float]]:
        """Mean confidence and accuracy of the bins that are not empty."""
        _, confidence, accuracy = self.arrays["bins"][self.arrays["bins"][:, 0] > 0].T
        return confidence.tolist(), accuracy.tolist()


def outcome_alone(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Outcome:
    """That of a network which is trained by itself, of its metrics."""
    return Outcome(tested_and_validated(record), arrays)


def tested_and_validated(record: Mapping[str, Any]) -> dict[str, float]:
    """A network's metrics by the data that they come from."""
    validated = {name.removesuffix(VALIDATED): value for name, value in record.items() if name.endswith(VALIDATED)}
    tested = {name: value for name, value in record.items() if not name.endswith(VALIDATED)}
    return numbers(tested, "test/") | numbers(validated, "validation/")


def numbers(record: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """What of a record is a number, with a prefix before its name."""
    return {f"{prefix}{name}": value for name, value in record.items() if isinstance(value, (int, float))}
