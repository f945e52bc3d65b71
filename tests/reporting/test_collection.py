"""How runs become configurations, and what the page says of them."""

from pathlib import Path

import pytest

from kd_lightning.reporting.pages.sweep_page import configurations_text, selection
from kd_lightning.reporting.tables.page_tables import comparison
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.reading import read
from kd_lightning.runs.collections.statistics import paired
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from tests.runs.summaries import distilled

Row = tuple[str, int, float, float]


def run(number: int, row: Row, tested: bool = False, model: str = "net") -> Run:
    """A finished run with an alpha, a seed, and the accuracies of the student and of the student alone."""
    alpha, seed, student, alone = row
    reached = {"top1_validation": student} | ({"top1": student} if tested else {})
    summary = distilled(None, {"top1_validation": alone}, reached | {"model": model}, seed=seed)
    overrides = {"alpha": alpha, "seed": str(seed)}
    return Run(Path(str(number)), str(number), FINISHED, overrides, summary)


def collection(*rows: Row, tested: tuple[int, ...] = (), selected: tuple[str, ...] = ()) -> Collection:
    runs = [run(number, row, number in tested) for number, row in enumerate(rows)]
    return Collection("sweep", runs, is_sweep=True, record={"selected": {"jobs": selected} if selected else None})


def test_a_second_run_of_a_seed_is_no_second_witness(sweep: Path) -> None:
    once = (("0.1", 0, 0.90, 0.85), ("0.1", 1, 0.94, 0.90), ("0.5", 0, 0.95, 0.85))
    twice = collection(*once, *once)
    first, second = twice.configurations
    assert first.reached("top1_validation") == [0.90, 0.94]
    found = paired(first.pairs("top1_validation"))
    assert found is not None
    assert found.difference.n == 2
    assert twice.best is second, "all its seeds have finished"
    assert len(read([sweep, sweep]).runs) == 16, "a folder given twice is one"


def test_an_interval_beyond_100_per_cent_is_explained() -> None:
    wide = collection(("0.1", 0, 0.90, 0.8), ("0.1", 1, 0.99, 0.8))
    narrow = collection(("0.1", 0, 0.90, 0.8), ("0.1", 1, 0.90, 0.8))
    assert "has too few seeds" in configurations_text(wide)
    assert "has too few seeds" not in configurations_text(narrow)


@pytest.mark.parametrize(("tested", "words"), [((0,), "only those of this"), ((0, 1), "1 further configurations")])
def test_it_says_which_students_were_tested(tested: tuple[int, ...], words: str) -> None:
    rows = (("0.1", 0, 0.95, 0.8), ("0.5", 0, 0.90, 0.8))
    assert words in selection(collection(*rows, tested=tested, selected=("0",)))


def test_runs_of_several_models_are_named() -> None:
    runs = [run(number, ("0.1", 0, 0.9, 0.8), model=f"net_{number}") for number in (0, 1)]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in comparison(runs).rows}
    assert rows["model"] == ["", "net_0, net_1"]
