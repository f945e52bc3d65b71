"""Candidate teachers: what their answers tell of how well they teach, and how the students of a sweep came out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from kd_lightning.columns import Column
from kd_lightning.runs.collections.collection import Collection, Configuration, are_numbers
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED, text
from kd_lightning.runs.summary import Role

OF_A_TEACHER = re.compile(r"\+*teacher(?!\.cache)($|[./])")  # a key; how answers are kept makes no other teacher
ENOUGH = 5  # teachers, below which a rank correlation says nothing
# What is told of a teacher, the direction of the better one: of calibration, entropy and ratio as published or argued.
ACCURACY = Column("accuracy", "accuracy", ".2%")
MEASURES = (
    ACCURACY,
    Column("ece", "calibration error", ".2%", higher_is_better=False),
    Column("entropy", "entropy", ".3f"),
    Column("ratio", "R12", ".3f", higher_is_better=False),
)
RANKS = "ratio"  # the measure by which candidates are ranked


@dataclass(frozen=True)
class Candidate:
    """A teacher: what it is called, what is told of it by the names of `MEASURES`, and what its students reached.

    `students` is their mean over seeds and over those settings that all candidates were given, higher for better.
    """

    title: str
    told: Mapping[str, float | None]
    students: float | None = None
    note: str = ""


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best first, by the ratio of the two largest logits; those of which it is not known last."""

    def place(one: Candidate) -> tuple[bool, float]:
        ratio = one.told.get(RANKS)
        return (True, 0.0) if ratio is None else (False, ratio)

    return sorted(candidates, key=place)


def candidates(runs: Collection) -> list[Candidate]:
    """The teachers of a sweep, ranked; none where there are not several."""
    by_teacher: dict[str, list[Configuration]] = {}
    for one in runs.configurations:
        by_teacher.setdefault(text(teacher_of(one)), []).append(one)
    if len(by_teacher) < 2:
        return []
    shared = set.intersection(
        *({text(others_of(one)) for one in own if scored(one, runs)} for own in by_teacher.values())
    )
    found = []
    for title, own in by_teacher.items():
        finished = [run for one in own for run in one.runs if run.status == FINISHED and run.summary is not None]
        if not any(run.summary.of(Role.TEACHER) for run in finished if run.summary is not None):
            continue
        reached = [mean for one in own if text(others_of(one)) in shared and (mean := scored(one, runs)) is not None]
        told = {measure.name: mean_of([told_of(run, measure.name, runs) for run in finished]) for measure in MEASURES}
        found.append(Candidate(title, told, fmean(reached) if reached else None))
    return ranked(found) if len(found) > 1 else []


def teacher_of(one: Configuration) -> dict[str, str]:
    """What a configuration was given for its teacher."""
    return {key: value for key, value in one.choices.items() if OF_A_TEACHER.match(key)}


def others_of(one: Configuration) -> dict[str, str]:
    """What it was given beside."""
    return {key: value for key, value in one.choices.items() if not OF_A_TEACHER.match(key)}


def scored(one: Configuration, runs: Collection) -> float | None:
    """The mean over seeds of what its students reached, higher for better."""
    return one.mean(runs.score)


def told_of(run: Run, measure: str, runs: Collection) -> float | None:
    """What was measured of a run's teacher; None where it was not."""
    teacher = None if run.summary is None else next(iter(run.summary.of(Role.TEACHER)), None)
    if teacher is None:
        return None
    if measure == ACCURACY.name:
        return run.metric(teacher.name, runs.selects_on.name)
    if measure == "ece":
        return run.metric(teacher.name, "ece")
    array = run.arrays_of(teacher.name).get(measure)
    if array is None:
        return None
    if measure == "entropy":
        return float(array[0, 1])  # at temperature 1
    mean, samples = array
    return float(mean) if samples else None


def mean_of(values: Sequence[float | None]) -> float | None:
    """Of those that are finite; None without any."""
    found = [value for value in values if value is not None and are_numbers(value)]
    return fmean(found) if found else None


def correlation(found: Sequence[Candidate], measure: Column) -> float | None:
    """Spearman's of a measure with what the students reached, 1 where it ranks the teachers as their students do.

    None of fewer than `ENOUGH` teachers that have both, and where all of these are equal.
    """
    both = [
        (value, one.students)
        for one in found
        if (value := one.told.get(measure.name)) is not None and one.students is not None
    ]
    if len(both) < ENOUGH:
        return None
    told, reached = (np.array(values) for values in zip(*both, strict=True))
    if not np.ptp(told) or not np.ptp(reached):
        return None
    return float(measure.sign * stats.spearmanr(told, reached).statistic)
