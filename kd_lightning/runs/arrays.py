"""evaluation.npz: what was measured class by class, for figures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kd_lightning.runs.files import EVALUATION
from kd_lightning.system.files import replacing, set_aside_folder
from kd_lightning.system.records import Damaged, damaged, unreadable, warn_once

Arrays = dict[str, np.ndarray]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write in one rename, so that a half-written file never exists."""
    set_aside_folder(path)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type] # numpy declares an option among the arrays


def read_arrays(path: Path) -> Arrays:
    """All arrays of a file; none where it is not there. Raises `Damaged`: its parts carry checksums."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise damaged(path, unreadable(error)) from error
    except Exception as error:  # a damaged archive can raise anything
        raise damaged(path, "cannot be read as arrays") from error


def sound_arrays(path: Path, consequence: str) -> Arrays:
    """The same; none, with a warning that ends with the consequence, where the file is damaged."""
    try:
        return read_arrays(path)
    except Damaged as error:
        warn_once(f"{error}; {consequence}")
        return {}


def write_evaluation(
    folder: Path, constants: Mapping[str, np.ndarray], roles: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """A run's evaluation.npz: what the task knows of the data, and each role's arrays with its name in front."""
    named = {f"{role}_{name}": array for role, arrays in roles.items() for name, array in arrays.items()}
    write_arrays(folder / EVALUATION, {**constants, **named})


def arrays_of(role: str, evaluation: Mapping[str, np.ndarray]) -> Arrays:
    """One role's arrays of a run's evaluation.npz, without its name."""
    prefix = f"{role}_"
    return {name.removeprefix(prefix): array for name, array in evaluation.items() if name.startswith(prefix)}
