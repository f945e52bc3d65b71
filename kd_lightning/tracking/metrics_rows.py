"""The rows of metrics.csv as text."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

NAME = "metrics.csv"
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, without a line that was only half written; none where it is not there."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]  # a number that was cut short is one, too
    return [row for row in csv.DictReader(io.StringIO(whole, newline="")) if is_whole(row)]


def is_whole(row: Row) -> bool:
    """Whether no process was killed while it wrote the line."""
    return None not in row and None not in row.values() and row.get("step", "").isdecimal()


def columns_of(rows: Sequence[Row]) -> list[str]:
    return sorted({name for row in rows for name in row})


def text_of(rows: Sequence[Row], columns: Sequence[str], *, header: bool) -> str:
    """Rows as CSV; a column that a row has not is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
