"""The teachers of a sweep: ranked by their answers, and by Spearman's correlation with what their students reached."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.reporting.tables.teachers import teachers, teachers_text
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.teachers import MEASURES, candidates, correlation
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from tests.runs.summaries import distilled


class Measured(Run):
    """A run whose arrays are not read from a folder."""

    ratio, entropy = 1.0, 1.0

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {"teacher_entropy": np.array([[1.0, self.entropy]]), "teacher_ratio": np.array([self.ratio, 9.0])}


def run(teacher: str, seed: int, reached: float, given: dict[str, str], told: dict[str, float]) -> Measured:
    record = {"model": teacher, "top1_validation": told["accuracy"], "ece": told["ece"]}
    summary = distilled(record, None, {"model": "net", "top1_validation": reached}, seed=seed)
    name = f"{teacher}-{seed}-{given}"
    made = Measured(Path(name), name, FINISHED, {"teacher.model": teacher, **given, "seed": str(seed)}, summary)
    object.__setattr__(made, "ratio", told["ratio"])
    object.__setattr__(made, "entropy", told["entropy"])
    return made


def sweep(students: list[float], ratios: list[float], **given: Any) -> Collection:
    runs: list[Run] = []
    for number, (reached, ratio) in enumerate(zip(students, ratios, strict=True)):
        told = {"accuracy": 0.9 - 0.01 * number, "ece": 0.02 * number, "entropy": 0.1 * number, "ratio": ratio}
        runs += [run(f"net{number}", seed, reached + seed / 100, given, told) for seed in range(2)]
    return Collection("sweep", runs, is_sweep=True)


def spearman(first: list[float], second: list[float]) -> float:
    """By its definition, of values without ties: 1 - 6·Σd² / (n·(n² - 1))."""
    ranks = [[sorted(values).index(value) for value in values] for values in (first, second)]
    n = len(first)
    return 1 - 6 * sum((a - b) ** 2 for a, b in zip(*ranks, strict=True)) / (n * (n * n - 1))


def test_teachers_are_ranked_and_measures_by_how_well_they_rank() -> None:
    students, ratios = [0.5, 0.8, 0.6, 0.9, 0.7], [1.9, 1.2, 1.5, 1.3, 1.6]
    runs = sweep(students, ratios)
    found = candidates(runs)
    assert [one.title for one in found] == [f"teacher.model=net{number}" for number in (1, 3, 2, 4, 0)]
    assert [one.students for one in found] == pytest.approx([0.805, 0.905, 0.605, 0.705, 0.505])
    of = {measure.name: correlation(found, measure) for measure in MEASURES}
    number = [0.0, 1.0, 2.0, 3.0, 4.0]
    assert of["ratio"] == pytest.approx(-spearman(ratios, students)), "the smaller the better"
    assert of["accuracy"] == pytest.approx(-spearman(number, students))
    assert of["ece"] == pytest.approx(-spearman(number, students))
    assert of["entropy"] == pytest.approx(spearman(number, students))
    assert f"R12 {-spearman(ratios, students):+.2f}" in teachers_text(runs)
    table = teachers(runs)
    assert table is not None
    titles = [
        "candidate",
        "validation top-1 %",
        "calibration error %",
        "entropy",
        "R12",
        "validation top-1 % of the student",
    ]
    assert table.titles == titles or table.titles[1:5] == ["top-1 %", *titles[2:5]]
    assert [cell.text for cell in table.rows[0]][1:] == ["89.00", "2.00", "0.100", "1.200", "80.50"]
    assert "teachers" in [section.id for section in sweep_page(runs).sections]


def test_few_teachers_are_not_correlated_and_one_is_not_ranked() -> None:
    runs = sweep([0.5, 0.8, 0.6, 0.9], [1.9, 1.2, 1.5, 1.3])
    assert correlation(candidates(runs), MEASURES[0]) is None
    assert "takes 5 teachers" in teachers_text(runs)
    assert not candidates(sweep([0.5], [1.9]))
    assert teachers(sweep([0.5], [1.9])) is None


def test_students_are_compared_in_the_settings_that_all_teachers_have() -> None:
    """Another temperature that one teacher alone was given would be compared with the others' first one."""
    runs = sweep([0.5, 0.8], [1.9, 1.2], temperature="2").runs
    more = sweep([0.1], [1.9], temperature="8").runs
    found = {one.title: one.students for one in candidates(Collection("sweep", [*runs, *more], is_sweep=True))}
    assert found == pytest.approx({"teacher.model=net0": 0.505, "teacher.model=net1": 0.805})


def test_how_answers_are_kept_makes_no_other_teacher() -> None:
    runs = [*sweep([0.5], [1.9]).runs]
    runs += sweep([0.5], [1.9], **{"teacher.cache": "logits"}).runs
    assert not candidates(Collection("sweep", runs, is_sweep=True))
