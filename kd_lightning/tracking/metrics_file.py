"""metrics.csv over an interruption: Lightning's CSV logger starts it anew, these functions keep what stood there."""

import csv
import io
from pathlib import Path

from kd_lightning.tracking.files import write_text

NAME, EARLIER = "metrics.csv", "metrics.before.csv"


def keep_metrics(folder: Path, step: int) -> None:
    """Before a training is taken up again at a step: put the rows up to there aside."""
    _write(folder / EARLIER, [row for row in read_metrics(folder) if int(row["step"]) <= step])


def join_metrics(folder: Path) -> None:
    """After the training: the rows put aside, then the new ones, in one file."""
    if (folder / EARLIER).exists():
        _write(folder / NAME, _read(folder / EARLIER) + _read(folder / NAME))
        (folder / EARLIER).unlink()


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """The rows of a training's metrics.csv, those put aside first, without a line that was only half written."""
    return [row for name in (EARLIER, NAME) for row in _read(folder / name) if _is_whole(row)]


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _is_whole(row: dict[str, str]) -> bool:
    """Whether no process was killed while it wrote the line."""
    return None not in row and None not in row.values() and row.get("step", "").isdecimal()


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    columns = sorted({name for row in rows for name in row})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
