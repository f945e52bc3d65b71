"""Candidate teachers in a table, the likeliest to teach well first, and what each of their measures is good for."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table as TerminalTable

from kd_lightning.columns import Column
from kd_lightning.reporting.pages.content import Cell, Table
from kd_lightning.reporting.tables.cells import LOWEST
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.teachers import ACCURACY, ENOUGH, MEASURES, Candidate, candidates, correlation

NOTES = {
    "accuracy": (
        "a teacher that is right more often is not always the better one: a large one may be too sure for a small "
        "student (Cho and Hariharan 2019, arXiv:1910.01348)"
    ),
    "ece": "near 0 its probabilities are as often right as they say; no study known to us ranks teachers by it",
    "entropy": "high where it tells of other classes than the first, and also where it knows little",
    "ratio": (
        "the mean ratio of the two largest logits as they are, where both are above 0; the smaller, the less sure of "
        "one class, the better. On eight fine-grained data sets it ranked teachers as their students did by 0.629 "
        "(mean of Spearman's correlation), accuracy by 0.524 (arXiv:2605.15689); with other losses than KD, and on "
        "other data, unknown"
    ),
}


def candidates_table(data: str, found: Sequence[Candidate]) -> TerminalTable:
    """A row for each candidate, for the terminal; `data` says what they were asked about."""
    columns = measured(found)
    table = TerminalTable("candidate", title=data, title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column.title, justify="right")
    noted = any(one.note for one in found)
    if noted:
        table.add_column("of")
    for one in found:
        values = (one.told.get(column.name) for column in columns)
        cells = ["" if value is None else column.text(value) for column, value in zip(columns, values, strict=True)]
        table.add_row(one.title, *cells, *([one.note] if noted else []))
    return table


def notes() -> list[str]:
    """A line for each measure: what it predicts."""
    return [f"{measure.label}: {NOTES[measure.name]}" for measure in MEASURES]


def measured(found: Sequence[Candidate]) -> list[Column]:
    """The measures that some candidate has."""
    return [one for one in MEASURES if any(candidate.told.get(one.name) is not None for candidate in found)]


def teachers(runs: Collection) -> Table | None:
    """A row for each teacher of a sweep; None where there are not several."""
    found = candidates(runs)
    if not found:
        return None
    column, columns = runs.selects_on.column, measured(found)
    rows = [
        [
            Cell(one.title),
            *(number(one.told.get(each.name), shown(each, runs)) for each in columns),
            students(one, column),
        ]
        for one in found
    ]
    titles = ["candidate", *(shown(one, runs).title for one in columns), f"{column.title} of the student"]
    return Table(titles, [False, *(True for _ in titles[1:])], rows, controls=True)


def shown(measure: Column, runs: Collection) -> Column:
    """A measure as it is called: the teachers' own result by the name of what selects."""
    return runs.selects_on.column if measure == ACCURACY else measure


def number(value: float | None, column: Column) -> Cell:
    return Cell("", LOWEST) if value is None else Cell(column.text(value), value)


def students(one: Candidate, column: Column) -> Cell:
    """What a teacher's students reached."""
    return number(None if one.students is None else column.sign * one.students, column)


def teachers_text(runs: Collection) -> str:
    """How to read the table, and how well each measure ranked the teachers."""
    found = candidates(runs)
    if not found:
        return ""
    text = (
        "The likeliest to teach well by R12, the ratio of its two largest logits, comes first. What is told of each is "
        "of its own answers, measured once: its accuracy as students are compared, the rest on the test set. "
    )
    ranks = [(shown(one, runs), value) for one in measured(found) if (value := correlation(found, one)) is not None]
    if ranks:
        told = ", ".join(f"{column.label} {value:+.2f}" for column, value in ranks)
        text += (
            f"Spearman's correlation with what the {len(found)} teachers' students reached, 1 where a measure ranks "
            f"them as these do: {told}. "
        )
    else:
        text += f"Whether a measure ranks them as their students do takes {ENOUGH} teachers. "
    return text + " ".join(f"{line[0].upper()}{line[1:]}." for line in notes())
