"""One process at a time in a sweep's folder, and one in a job's."""

from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.runs.files import LOCK
from kd_lightning.system.locks import Busy, Lock, take


def claim(folder: Path) -> Lock:
    """The lock of a sweep's folder, which is made; it ends with this process.

    Raises `UserError` if another process has it, or if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return take(job_lock(folder))
    except Busy:
        raise UserError(
            f"hydra.sweep.dir={folder}: another process runs a sweep there; wait for its end, or give another folder"
        ) from None
    except OSError as error:
        raise UserError(
            f"hydra.sweep.dir={folder}: cannot be written ({error.strerror}); give another folder"
        ) from error


def job_lock(folder: Path) -> Path:
    """What is locked in a job's folder: a job may outlive the sweep that began it, and a second start waits for it."""
    return folder / LOCK
