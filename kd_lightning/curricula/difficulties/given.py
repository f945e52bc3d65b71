"""Difficulties that somebody gives: the data set, or a file."""

import math
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.difficulties.difficulty import Difficulty, check_values
from kd_lightning.data.labels.files import values_in
from kd_lightning.errors import UserError


class FromData(Difficulty):
    """What the data set has as `difficulty`, a finite value for each sample. Raises UserError where it has none.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import FromData, Samples
        >>> given = FromData()
        >>> given.begin(Samples(torch.arange(3), difficulty=torch.tensor([0.2, 0.9, 0.1])))
        >>> given.values.argsort().tolist()
        [2, 0, 1]
    """

    def begin(self, samples: Samples) -> None:
        if samples.difficulty is None:
            raise UserError("curriculum.difficulty: the data set has no attribute difficulty; give one, or a file")
        values = samples.difficulty.float()
        check_values(values, samples, "curriculum.difficulty: the data set's attribute difficulty")
        self.values = values


class FromFile(Difficulty):
    """The numbers of a file: NPY of (N,), or CSV with one to a line or `index,number`, with a header or without.

    Without an index they are in the order of the whole training set, what is set apart for validation included. A
    sample's number is the one at its `index`, which a split of the set does not change. Raises UserError for a file
    that cannot be read, does not hold one number for each sample, or one that is not finite.

    Examples:
        >>> import numpy, pathlib, tempfile, torch
        >>> from kd_lightning.curricula import FromFile, Samples
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numpy.save(pathlib.Path(folder) / "hard.npy", [0.1, 0.7, 0.4])
        ...     difficulty = FromFile(f"{folder}/hard.npy")
        >>> difficulty.begin(Samples(index=torch.tensor([2, 0])))
        >>> difficulty.values
        tensor([0.4000, 0.1000])
    """

    def __init__(self, path: str | None) -> None:
        if path is None:
            raise UserError("path=null: give a file, NPY of (N,), or CSV with a number to a line")
        self.path = path
        self.numbers = numbers_in(Path(path))

    def begin(self, samples: Samples) -> None:
        last, count = int(samples.index.max()), len(self.numbers)
        if last >= count or samples.total not in (None, count):
            of = f"{samples.total} samples" if samples.total is not None else f"a sample {last}"
            raise UserError(
                f"curriculum.difficulty.path={self.path}: holds {count} numbers, and the whole training set has {of}; "
                "give one for each"
            )
        self.values = self.numbers.to(samples.index.device)[samples.index]


def numbers_in(path: Path) -> Tensor:
    """float32 (N,) of a file. Raises UserError."""
    key = f"curriculum.difficulty.path={path}"
    found = values_in(path, key, "number", lambda cell: not is_number(cell))
    numbers = torch.tensor([float(one) if is_number(one) else math.nan for one in found], dtype=torch.float32)
    odd = (~numbers.isfinite()).nonzero().flatten()
    if len(odd):
        first = int(odd[0])
        raise UserError(f"{key}: number {first} is {found[first]}; give finite ones, in float32 at most 3.4e38")
    return numbers


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
