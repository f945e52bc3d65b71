"""Difficulties that somebody gives: the data set, or a file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.difficulties.difficulty import Difficulty
from kd_lightning.errors import UserError


class FromData(Difficulty):
    """What the data set has as `difficulty`, a value for each sample. Raises UserError where it has none.

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
        self.values = samples.difficulty.float()


class FromFile(Difficulty):
    """The numbers of a file: NPY of (N,), or text with one to a line, in the order of the whole training set.

    A sample's number is the one at its `index`, which a split of the set does not change. Raises UserError for a file
    that cannot be read, holds too few numbers, or one that is not finite.

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
            raise UserError("path=null: give a file, NPY of (N,) or text with one number to a line")
        self.path = path
        self.numbers = numbers_in(Path(path))

    def begin(self, samples: Samples) -> None:
        last = int(samples.index.max())
        if last >= len(self.numbers):
            raise UserError(
                f"curriculum.difficulty.path={self.path}: holds {len(self.numbers)} numbers, and the training set has "
                f"an image {last}; give one for each"
            )
        self.values = self.numbers.to(samples.index.device)[samples.index]


def numbers_in(path: Path) -> Tensor:
    """float32 (N,) of a file. Raises UserError."""
    key = f"curriculum.difficulty.path={path}"
    try:
        read = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=1)
        numbers = torch.as_tensor(np.asarray(read, dtype=np.float32))
    except OSError as error:
        raise UserError(f"{key}: {error.strerror or error}; give a file that can be read") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}; give NPY of (N,), or a number to a line") from error
    if numbers.ndim != 1 or not len(numbers):
        raise UserError(f"{key}: has shape {tuple(numbers.shape)}; give one number for each training sample")
    if not bool(numbers.isfinite().all()):
        wrong = int((~numbers.isfinite()).nonzero()[0])
        raise UserError(f"{key}: number {wrong} is {float(numbers[wrong])}; give finite ones")
    return numbers
