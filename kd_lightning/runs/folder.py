"""The folder of a run: found, looked at, removed where nothing was made."""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.runs.files import (
    CHECKPOINTS,
    EVALUATION,
    LAST,
    MULTIRUN,
    PLANNED,
    RUNNING,
    SELECTION,
    STATUS,
    SUMMARY,
    checkpoint,
)
from kd_lightning.runs.summary import SHAPE, Summary, summary_from
from kd_lightning.system.files import remove_unfinished, write_json
from kd_lightning.system.locks import Busy, take
from kd_lightning.system.records import archive_is_damaged, read_record, sound_record, warn_once
from kd_lightning.terminal import is_first_rank

ORPHANED = 7.0  # seconds: data loader workers of a run that was killed hold its lock for 5


def goes_on(folder: Path) -> str:
    """How the run in a folder is taken up again."""
    return f"the same command with hydra.run.dir={shlex.quote(str(folder))} goes on"


def sweep_goes_on(folder: str | Path) -> str:
    """How the sweep in a folder is taken up again."""
    return f"the same command with hydra.sweep.dir={shlex.quote(str(Path(folder).absolute()))} goes on"


@contextmanager
def one_run_in(folder: Path) -> Iterator[None]:
    """No other process runs in a folder meanwhile, and what one that was killed had half written is gone.

    The other ranks of a run follow their first.

    Raises `UserError` if one does.
    """
    if not is_first_rank():
        yield
        return
    path = folder / RUNNING
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take(path, ORPHANED)
    except Busy:
        raise UserError(
            f"hydra.run.dir={folder}: another process runs there; wait for its end, or give another folder"
        ) from None
    try:
        remove_unfinished(folder)
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def finished(folder: Path) -> Summary | None:
    """The summary of a run that is complete, or None, and with a warning where what it measured has to be made anew."""
    found = sound_record(folder / SUMMARY, SHAPE, "it is made anew")
    arrays = folder / EVALUATION
    if found is not None and archive_is_damaged(arrays) and (folder / CHECKPOINTS / LAST).exists():
        warn_once(f"{arrays}: is damaged, or not there; it is made anew")
        return None
    return None if found is None else summary_from(found)


def read_summary(folder: Path) -> Summary | None:
    """The summary of a run that is complete, or None. Raises `Damaged` with the remedy."""
    found = read_record(folder / SUMMARY, SHAPE, remedy=f"to make it anew, {goes_on(folder)}")
    return None if found is None else summary_from(found)


def write_summary(folder: Path, summary: Summary) -> None:
    """In one rename: it marks the run as finished."""
    write_json(folder / SUMMARY, summary.as_values())


def checkpoint_name(wanted: str | None, folder: Path) -> str:
    """The checkpoint asked for, which must be there; for None the one that the run's own table shows.

    Raises UserError where it is not there.
    """
    if wanted not in (None, "best", "last"):
        raise UserError(f"checkpoint={wanted}: must be best, last or null")
    summary = read_summary(folder)
    name = wanted or (summary.data["selected_checkpoint"] if summary else "last")
    of_learners = (folder / CHECKPOINTS).glob(f"{name}_*{Path(checkpoint(name)).suffix}")
    if not (folder / checkpoint(name)).exists() and not any(of_learners):
        raise UserError(f"run={folder}: has no {checkpoint(name)}; let kd-train finish in this folder first")
    return name


def sweep_of(folder: Path) -> Path | None:
    """The folder of the sweep that the run in `folder` is a job of, however deep below it; None for any other run."""
    if not (folder / STATUS).exists():
        return None
    return next((above for above in folder.resolve().parents if is_sweep(above)), None)


def is_sweep(folder: Path) -> bool:
    return any((folder / name).exists() for name in (MULTIRUN, PLANNED, SELECTION))


def remove_folder(folder: Path) -> None:
    """Remove a folder, and the two around it if they are empty now."""
    shutil.rmtree(folder)
    for parent in list(folder.resolve().parents)[:2]:
        if parent != Path.cwd() and parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
