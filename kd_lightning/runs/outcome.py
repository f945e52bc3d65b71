"""What loggers show of a finished run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kd_lightning.runs.summary import Role, Summary
from kd_lightning.tracking.outcome import COST, Outcome, numbers, tested_and_validated


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
    return metrics
