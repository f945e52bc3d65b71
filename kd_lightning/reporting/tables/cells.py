"""Numbers as a table shows them: a text and, to sort by, a value; what is not there is sorted below all others."""

from collections.abc import Callable, Sequence
from typing import Any

from kd_lightning.columns import Column, Measure
from kd_lightning.reporting.pages.content import Cell
from kd_lightning.runs.collections.collection import Configuration
from kd_lightning.runs.collections.statistics import Paired, Spread, spread
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED, rounded

LOWEST = -1e300  # what is not there is sorted below all numbers


def over_runs(values: Sequence[Any], form: Callable[[Any], str]) -> Cell:
    """What all runs share; else the mean of numbers with its standard deviation, or all names."""
    distinct = [*dict.fromkeys(values)]
    if len(distinct) < 2 or isinstance(distinct[0], str):
        return Cell(", ".join(map(form, distinct)))
    found = spread(values)
    assert found is not None
    return Cell(found.text(form))


def over_seeds(found: Spread | None, column: Column) -> Cell:
    """A mean with its standard deviation, and its interval."""
    if found is None:
        return Cell("", LOWEST)
    if found.low is None or found.high is None:
        return Cell(found.text(column.text), found.mean, "one seed")
    return Cell(found.text(column.text), found.mean, f"{column.text(found.low)} to {column.text(found.high)}")


def paired_cells(found: Paired | None, column: Column) -> list[Cell]:
    """A gain with its interval, and the p-value of the test."""
    if found is None:
        return [Cell("", LOWEST), Cell("", 2.0)]
    difference = found.difference
    mean = column.signed(difference.mean)
    if difference.low is None or difference.high is None:
        return [Cell(mean, difference.mean, "one seed"), Cell("", 2.0)]
    gain = Cell(mean, difference.mean, f"{column.signed(difference.low)} to {column.signed(difference.high)}")
    if found.p is None:
        return [gain, Cell("same in all", 2.0)]
    return [gain, Cell(p_value(found.p).removeprefix("= "), found.p)]


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def count(configuration: Configuration) -> Cell:
    """How many runs have finished, of how many."""
    finished, of = sum(run.status == FINISHED for run in configuration.runs), len(configuration.runs)
    return Cell(str(of) if finished == of else f"{finished} of {of}", finished)


def gain(run: Run, measure: Measure) -> Cell:
    """How much better what the run is about is than what it is compared with."""
    reached, other = run.reached(measure.name), run.compared_with(measure.name)
    if reached is None or other is None:
        return Cell("", LOWEST)
    difference = measure.column.sign * (reached - other)
    return Cell(measure.column.signed(difference), difference)


def result(run: Run, measure: Measure) -> Cell:
    """What the network reached that the run is about."""
    value = run.reached(measure.name)
    return Cell("", LOWEST) if value is None else Cell(measure.column.text(value), value)


def time(run: Run) -> Cell:
    """What the job took, or where that is not known the training that it is about."""
    seconds = run.seconds
    if seconds is None and run.summary is not None:
        seconds = run.summary.time["fit_s"]
    if seconds is None:
        return Cell("", -1.0)
    return Cell(f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min", seconds)


def choice(value: str) -> Cell:
    """What a run was given; sorted as a number where it is one."""
    try:
        return Cell(rounded(value), float(value))
    except ValueError:
        return Cell(value)
