"""Files with a value for each sample of a whole training set: NPY of (N,), or CSV."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kd_lightning.errors import UserError


def values_in(path: Path, key: str, what: str, is_header: Callable[[str], bool]) -> list[str]:
    """What a file says of each sample, as text. A CSV has `what` to a line, or `index,what`, with a header or without.

    `is_header` tells whether a first cell is one. Raises UserError, naming the `key`, for a file that cannot be read,
    says nothing of a sample, or too much.
    """
    try:
        if path.suffix == ".npy":
            read = np.load(path, allow_pickle=False)
            if read.ndim != 1:
                raise UserError(f"{key}: has shape {read.shape}; give one {what} for each sample")
            found = [str(one) for one in read.tolist()]
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                found = in_rows([row for row in csv.reader(file) if row], key, what, is_header)
    except OSError as error:
        raise UserError(f"{key}: {error.strerror or error}; give a file that can be read") from error
    except (ValueError, EOFError, csv.Error) as error:
        raise UserError(f"{key}: {error}; give NPY of (N,), or CSV with a {what} to a line") from error
    if not found:
        raise UserError(f"{key}: is empty; give a {what} for each sample")
    empty = next((number for number, value in enumerate(found) if not value.strip()), None)
    if empty is not None:
        raise UserError(f"{key}: {what} {empty} is empty; give each sample one")
    return found


def in_rows(rows: list[list[str]], key: str, what: str, is_header: Callable[[str], bool]) -> list[str]:
    """The values of a CSV's rows. Raises UserError for rows of another width, or an index not there once."""
    width = len(rows[0]) if rows else 1
    if width > 2 or any(len(row) != width for row in rows):
        wrong = next((number for number, row in enumerate(rows, 1) if len(row) != width), 1)
        raise UserError(
            f"{key}: line {wrong} has {len(rows[wrong - 1])} columns; give a {what} to a line, or index,{what}"
        )
    if width == 1:
        cells = [row[0].strip() for row in rows]
        return cells[1:] if cells and is_header(cells[0]) else cells
    if rows and not rows[0][0].strip().isdecimal():
        rows = rows[1:]
    numbered: dict[int, str] = {}
    for number, (index, value) in enumerate(rows):
        if not index.strip().isdecimal():
            raise UserError(f"{key}: row {number} has the index {index}; give whole numbers from 0 on")
        if int(index) in numbered:
            raise UserError(f"{key}: has index {int(index)} twice; give each sample one {what}")
        numbered[int(index)] = value.strip()
    missing = next((one for one in range(len(rows)) if one not in numbered), None)
    if missing is not None:
        raise UserError(f"{key}: has no {what} for index {missing}; give each sample one")
    return [numbered[one] for one in range(len(rows))]
