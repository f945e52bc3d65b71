"""What is shown of a training at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kd_lightning.columns import VALIDATED, Compared
from kd_lightning.runs.summary import Role, Summary
from kd_lightning.tracking.confusions import Confusions

FOUND_LR = "found_lr"  # in a network's record: the learning rate that was found for it
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


def outcome_of(summary: Summary, arrays: Mapping[str, np.ndarray], weights: Path | None = None) -> Outcome:
    """A run's numbers and its comparison; `arrays` are of its result and of the data, `weights` is its result's."""
    return Outcome(
        metrics_of(summary),
        arrays,
        networks={one.name: one.record for one in summary.networks},
        result=summary.plan.result,
        learned_from=[one.name for role in (Role.TEACHER, Role.ASSISTANT) for one in summary.of(role)],
        compared=summary.compared,
        data=summary.data["name"],
        weights=weights,
    )


def metrics_of(summary: Summary) -> dict[str, float]:
    """The numbers of a run's result, of the networks that it is compared with, and what it gained over its baseline."""
    result, baseline = summary.result, summary.baseline
    metrics = numbers(summary.time, "time/")
    metrics |= numbers({name: result.record.get(name) for name in COST}, f"{result.name}/")
    metrics |= numbers(summary.memory, "memory/")
    metrics |= tested_and_validated({name: value for name, value in result.record.items() if name not in COST})
    for other in summary.networks:
        metrics |= numbers(other.record, f"{other.name}/") if other != result else {}
    if (compared := summary.compared) is not None and baseline is not None:
        column = compared.selects_on
        ours, theirs = result.record.get(column.name), baseline.record.get(column.name)
        if ours is not None and theirs is not None:
            metrics[f"gain/{column.name}"] = column.sign * (ours - theirs)
        for one, other in summary.gains():
            ours, theirs = one.record.get(column.name), other.record.get(column.name)
            if one != result and ours is not None and theirs is not None:
                metrics[f"{one.name}/gain/{column.name}"] = column.sign * (ours - theirs)
    return metrics


def outcome_alone(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Outcome:
    """That of a network which is trained by itself, of its metrics."""
    return Outcome(tested_and_validated(record), arrays)


def tested_and_validated(record: Mapping[str, Any]) -> dict[str, float]:
    """A network's metrics by the data that they come from."""
    validated = {name.removesuffix(VALIDATED): value for name, value in record.items() if name.endswith(VALIDATED)}
    tested = {name: value for name, value in record.items() if not name.endswith(VALIDATED) and name != FOUND_LR}
    found = {FOUND_LR: record[FOUND_LR]} if FOUND_LR in record else {}
    return numbers(tested, "test/") | numbers(validated, "validation/") | numbers(found, "train/")


def numbers(record: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """What of a record is a number, with a prefix before its name."""
    return {f"{prefix}{name}": value for name, value in record.items() if isinstance(value, (int, float))}
