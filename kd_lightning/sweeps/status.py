"""status.json: what became of one job of a sweep."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kd_lightning.tracking.files import write_json

NAME = "status.json"
RUNNING, FINISHED, FAILED = "running", "finished", "failed"


@dataclass(frozen=True)
class Status:
    """A job's state, the overrides that it was given, and the student's best validation accuracy where it has one.

    Times are seconds since 1970. A job that was killed stays `running` until its sweep is run again.
    """

    status: str
    overrides: list[str]
    started: float
    ended: float | None = None
    error: str | None = None
    validation: float | None = None

    def write(self, folder: Path) -> None:
        write_json(folder / NAME, asdict(self))

    def has_ended(self, of_a_search: bool) -> bool:
        """Whether it is not run again: the later jobs of a search were chosen by how the earlier ones failed, too."""
        return self.status == FINISHED or (of_a_search and self.status == FAILED)

    def choices(self, keys: tuple[str, ...]) -> dict[str, str]:
        """What the job was given for these keys."""
        given = dict(override.partition("=")[::2] for override in self.overrides)
        return {key: given[key] for key in keys if key in given}


def read_status(folder: Path) -> Status | None:
    """The status of the job in a folder, or None where none has begun."""
    path = folder / NAME
    return Status(**json.loads(path.read_text())) if path.exists() else None


def read_statuses(folder: Path) -> dict[str, Status]:
    """All jobs of a sweep that have begun, by the names of their folders, in order."""
    names = sorted((path.parent.name for path in folder.glob(f"*/{NAME}")), key=lambda name: (len(name), name))
    return {name: status for name in names if (status := read_status(folder / name))}


def text(choices: dict[str, str]) -> str:
    """Choices on one line, long numbers rounded."""
    return " ".join(f"{key}={rounded(value)}" for key, value in choices.items())


def rounded(value: str) -> str:
    try:
        return value if len(value) <= 6 else f"{float(value):.4g}"
    except ValueError:
        return value
