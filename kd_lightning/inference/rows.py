"""Predictions as rows: CSV, JSON lines, or a table."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kd_lightning.terminal import AS_IT_IS


@dataclass(frozen=True)
class Row:
    """A file, and what was said of it: names with numbers, the likeliest first where they are `ranked`."""

    file: Path
    said: Sequence[tuple[str, float]]
    ranked: bool
    label: str = "class"


class Writer:
    """Writes rows into a text file; all of them at the end where `finish` is needed for them."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: Row) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Write what is left."""


class Csv(Writer):
    """A column for the file, then for each name and number."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file)
        self.writer = csv.writer(file, lineterminator="\n")
        self.is_begun = False

    def write(self, row: Row) -> None:
        if not self.is_begun:
            self.writer.writerow(header(row))
            self.is_begun = True
        self.writer.writerow([row.file, *(cell for cells in cells_of(row) for cell in cells)])


class JsonLines(Writer):
    """An object for each file: `file`, `class`, `probability`, and `top`, the likeliest; of numbers these by name."""

    def write(self, row: Row) -> None:
        about: dict[str, object] = {"file": str(row.file)}
        if row.ranked:
            top = [{row.label: name, "probability": number} for name, number in row.said]
            about |= {**top[0], "top": top}
        else:
            about |= dict(row.said)
        self.file.write(json.dumps(about, ensure_ascii=False) + "\n")


class Lines(Writer):
    """A table for the eye, drawn at the end."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file)
        self.rows: list[Row] = []

    def write(self, row: Row) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        if not self.rows:
            return
        table = Table(box=SIMPLE_HEAD)
        for name in header(self.rows[0]):
            is_number = name.startswith("probability") or not (self.rows[0].ranked or name == "file")
            table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for row in self.rows:
            texts = (cell if isinstance(cell, str) else f"{cell:.4g}" for cells in cells_of(row) for cell in cells)
            table.add_row(str(row.file), *texts)
        console = Console(file=self.file, **AS_IT_IS)
        if not console.is_terminal:
            console.width = 160
        console.print(table)


def header(row: Row) -> list[str]:
    """What the columns of a row are called."""
    if not row.ranked:
        return ["file", *(name for name, _ in row.said)]
    ends = ["", *(f"_{place}" for place in range(2, len(row.said) + 1))]
    return ["file", *(f"{name}{end}" for end in ends for name in (row.label, "probability"))]


def cells_of(row: Row) -> list[list[str | float]]:
    return [[name, number] if row.ranked else [number] for name, number in row.said]


WRITERS: dict[str, Callable[[TextIO], Writer]] = {"csv": Csv, "jsonl": JsonLines, "table": Lines}
