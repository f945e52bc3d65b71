"""What is shown of a training at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd_lightning.columns import Compared
from kd_lightning.tracking.confusions import Confusions

COST = ("params", "flops", "latency_ms", "latency_iqr_ms")


@dataclass(frozen=True)
class Outcome:
    """What is shown of a training at its end.

    `metrics` are its own, by name; `networks` the records of all networks of the run, where they are compared here;
    `arrays` may hold, of a classification, `class_names`; `confusions` (K, 3): true class, predicted class, images; and
    `bins` (15, 3): count, confidence, accuracy; `compared` tells the columns where networks are compared;
    `weights` is the file of the student.
    """

    metrics: dict[str, float]
    networks: dict[str, Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]
    compared: Compared | None
    data: str
    weights: Path | None

    def columns(self) -> list[str]:
        """What a comparison holds of each network: its model, the task's metrics, its cost."""
        return ["model", *(column.name for column in (self.compared.columns if self.compared else ())), *COST]

    def table(self) -> list[list[Any]]:
        """A row for each network: its role, then `columns`."""
        return [[role, *(record.get(name) for name in self.columns())] for role, record in self.networks.items()]

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
