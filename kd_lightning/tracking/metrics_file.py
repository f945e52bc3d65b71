"""metrics.csv over an interruption: Lightning's CSV logger starts it anew, these functions keep what stood there."""

import csv
from pathlib import Path

NAME, EARLIER = "metrics.csv", "metrics.before.csv"


def keep_metrics(folder: Path, step: int) -> None:
    """Before a training is taken up again at a step: put the rows up to there aside."""
    rows = [row for name in (EARLIER, NAME) for row in _read(folder / name) if int(row["step"]) <= step]
    _write(folder / EARLIER, rows)


def join_metrics(folder: Path) -> None:
    """After the training: the rows put aside, then the new ones, in one file."""
    if (folder / EARLIER).exists():
        _write(folder / NAME, _read(folder / EARLIER) + _read(folder / NAME))
        (folder / EARLIER).unlink()


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    columns = sorted({name for row in rows for name in row})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
