"""The taps of a student and a teacher as a table, a pair in one row."""

from collections.abc import Collection
from dataclasses import replace

from rich.table import Table

from kd_lightning.taps import FOUND
from kd_lightning.taps.inspection import Inspection

Pairs = list[tuple[str, str]]


def stages(model: Inspection, given: Collection[str]) -> Inspection:
    """The same with the logits, what is pooled, the stages, and the taps given by name."""
    return replace(model, taps={tap: a for tap, a in model.taps.items() if FOUND.fullmatch(tap) or tap in given})


def further(model: Inspection, shown: Inspection | None) -> str:
    """A line with the names of the taps that are not shown."""
    names = [tap for tap in model.taps if shown is None or tap not in shown.taps]
    return f"Further taps of the {model.role}: {', '.join(names) or 'none'}"


def taps_table(student: Inspection, teacher: Inspection | None, pairs: Pairs) -> Table:
    """The taps in rows; of two models side by side."""
    table = Table()
    for model in (student, teacher):
        if model is not None:
            table.add_column(f"{model.role}: {model.model}", style="bold")
            table.add_column(f"{model.cost.params / 1e6:.2f}M params, input {model.inputs}", overflow="fold")
            table.add_column("shape", justify="right")
    if teacher is None:
        for tap in student.taps:
            table.add_row(*_cells(student, tap))
    else:
        for left, right in _merged(list(student.taps), list(teacher.taps), pairs):
            table.add_row(*_cells(student, left), *_cells(teacher, right))
    return table


def unpaired(student: Inspection, teacher: Inspection, pairs: Pairs) -> list[str]:
    """A line for each model that has taps without a partner."""
    lines = []
    for side, model in enumerate((student, teacher)):
        alone = [tap for tap in model.taps if tap not in {pair[side] for pair in pairs}]
        if alone:
            lines.append(f"Unpaired in the {model.role}: {', '.join(alone)}")
    return lines


def _cells(model: Inspection, tap: str | None) -> list[str]:
    """A row's half: the tap's name, its address, its shape; empty without a tap."""
    if tap is None:
        return ["", "", ""]
    return [tap, model.taps[tap] or "(output)", "x".join(map(str, model.shapes[tap]))]


def _merged(students: list[str], teachers: list[str], pairs: Pairs) -> list[tuple[str | None, str | None]]:
    """Both lists merged, in order: a pair in one row, whatever has no partner in a row of its own."""
    rows: list[tuple[str | None, str | None]] = []
    for left, right in pairs:
        while students and students[0] != left:
            rows.append((students.pop(0), None))
        while teachers and teachers[0] != right:
            rows.append((None, teachers.pop(0)))
        rows.append((students.pop(0), teachers.pop(0)))
    return rows + [(left, None) for left in students] + [(None, right) for right in teachers]
