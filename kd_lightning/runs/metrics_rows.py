"""The rows of metrics.csv as text, and their checksum, which other readers of CSV would take for a row."""

import csv
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from kd_lightning.runs.files import CHECKSUMS, METRICS
from kd_lightning.system.files import write_json
from kd_lightning.system.records import Each, damaged, sound_record, unreadable, warn_of_absent, warn_once

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


def checksum(rows: Iterable[Row], before: int = 0) -> int:
    """Of what rows tell, whatever columns the file has; `before` is that of the rows in front of them."""
    for row in rows:
        before = zlib.crc32(repr(sorted(cell for cell in row.items() if cell[1])).encode(), before)
    return before


def write_checksums(folder: Path) -> None:
    """checksums.json in the folder of a run that ends, of its own metrics.csv and those in folders below."""
    files = [*folder.glob(METRICS), *sorted(folder.glob(f"*/{METRICS}"))]
    write_json(folder / CHECKSUMS, {path.relative_to(folder).as_posix(): checksum(read_rows(path)) for path in files})


def checked_rows(folder: Path, name: str) -> list[Row]:
    """The rows of one of a finished run's files, with a warning where they are not as they were written."""
    warn_of_absent(folder / CHECKSUMS, "its curves are not checked")
    told = (sound_record(folder / CHECKSUMS, Each(int), "its curves are not checked") or {}).get(name)
    path, rows = folder / name, read_rows(folder / name)
    if told is not None:
        warn_of_absent(path, "its curves are left out")
    if path.exists() and told not in (None, checksum(rows)):
        warn_once(f"{damaged(path, 'its checksum is another')}; its curves may be wrong")
    return rows


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
