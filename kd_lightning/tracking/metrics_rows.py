"""The rows of metrics.csv as text."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from kd_lightning.system.records import damaged, unreadable, warn_once

NAME = "metrics.csv"
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, without a line that was only half written; none where it is not there.

    Where more is lost, which no kill does, a warning says so.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "\ufffd")  # which csv refuses to read
    except FileNotFoundError:
        return []
    except OSError as error:
        warn_once(f"{damaged(path, unreadable(error))}; its curves are left out")
        return []
    lines = text[: text.rfind("\n") + 1]  # a number that was cut short is one, too
    rows = [*csv.DictReader(io.StringIO(lines, newline=""))]
    whole = [row for row in rows if is_whole(row)]
    if len(whole) < len(rows) or (text.strip() and not rows):
        warn_once(f"{damaged(path, f'{len(rows) - len(whole)} lines are no rows')}; its curves lack them")
    return whole


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
