"""Where a trained student lies: in a run's folder, or in a file of weights by itself."""

from pathlib import Path
from typing import NamedTuple

from kd_lightning.errors import UserError
from kd_lightning.runs.config import stored_values
from kd_lightning.runs.files import weights_of
from kd_lightning.runs.folder import goes_on, is_sweep, read_summary

SUFFIX = Path(weights_of("any")).suffix


class Place(NamedTuple):
    """The file of a student's weights, and the folder of the run that it is in, where it is in one."""

    weights: Path
    run: Path | None


def find(path: str | Path, key: str) -> Place:
    """The student of a run's folder, of a file of weights, or of a folder that holds one, as an artifact's does.

    `key` is how an error names the path. Raises UserError where there is none.
    """
    if not isinstance(path, (str, Path)):
        raise UserError(f"{key}={path}: must be the path of a run's folder, such as {key}=outputs/DATE/TIME")
    place = Path(path).expanduser()
    if place.is_file():
        if place.suffix != SUFFIX:
            raise UserError(f"{key}={path}: is no {SUFFIX} file; give a run's folder, or the student's weights in it")
        return Place(place, place.parent if stored_values(place.parent) is not None else None)
    if not place.is_dir():
        raise UserError(f"{key}={path}: no such folder or file; give one that kd-train printed, or a file of weights")
    if stored_values(place) is not None:
        return Place(of_run(place, key), place)
    if is_sweep(place):
        raise UserError(f"{key}={path}: holds the runs of a sweep; give the folder of one of them")
    files = sorted(place.glob(f"*{SUFFIX}"))
    if len(files) != 1:
        held = f"several, {', '.join(file.name for file in files)}; give one of them" if files else "none"
        raise UserError(f"{key}={path}: no run's folder, and of files of weights it holds {held}")
    return Place(files[0], None)


def of_run(folder: Path, key: str) -> Path:
    """The weights of the network that a run is about. Raises UserError where they are not there."""
    summary = read_summary(folder)
    if summary is None:
        raise UserError(f"{key}={folder}: has not finished; {goes_on(folder)}")
    weights = folder / weights_of(summary.plan.result)
    if not weights.is_file():
        raise UserError(f"{key}={folder}: its {weights.name} is not there any more; run the same kd-train elsewhere")
    return weights
