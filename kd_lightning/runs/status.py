"""status.json: what became of one job of a sweep."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kd_lightning.columns import Column, column_from
from kd_lightning.runs.files import STATUS
from kd_lightning.runs.values import legible, unquoted
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, NUMBER, sound_record

RUNNING, FINISHED, FAILED = "running", "finished", "failed"
SHAPE = {"status": str, "overrides": [str], "started": NUMBER, "ended": (*NUMBER, NONE), "validation": (*NUMBER, NONE)}


@dataclass(frozen=True)
class Status:
    """A job's state, the overrides that it was given, and what its result reached where it has finished.

    `validation` is a number of `column`, on validation data. Times are seconds since 1970. A job that was killed stays
    `running` until its sweep is run again.
    """

    status: str
    overrides: list[str]
    started: float
    ended: float | None = None
    error: str | None = None
    validation: float | None = None
    column: Column | None = None

    def write(self, folder: Path) -> None:
        write_json(folder / STATUS, asdict(self))

    def has_ended(self, of_a_search: bool) -> bool:
        """Whether it is not run again: the later jobs of a search were chosen by how the earlier ones failed, too."""
        return self.status == FINISHED or (of_a_search and self.status == FAILED)

    @property
    def seed(self) -> str:
        """What the job was given as its seed; nothing where that is the config's own."""
        given = dict(override.lstrip("+").partition("=")[::2] for override in self.overrides)
        return unquoted(given.get("seed", ""))

    def choices(self, keys: tuple[str, ...]) -> dict[str, str]:
        """What the job was given for these keys."""
        given = dict(override.partition("=")[::2] for override in self.overrides)
        return {key: unquoted(given[key]) for key in keys if key in given}


def read_status(folder: Path) -> Status | None:
    """The status of the job in a folder, or None where none has begun, and with a warning where it is damaged."""
    found = sound_record(folder / STATUS, SHAPE, "taken for a job that has not begun")
    if found is None:
        return None
    values = {name: found.get(name) for name in Status.__dataclass_fields__}
    return Status(**{**values, "column": column_from(values["column"])})


def read_statuses(folder: Path) -> dict[str, Status]:
    """All jobs of a sweep that have begun, by their folders' paths below its own, in order."""
    found = {path.relative_to(folder): read_status(path) for path in job_folders(folder)}
    return {str(path): status for path in sorted(found, key=in_order) if (status := found[path]) is not None}


def job_folders(folder: Path) -> Iterator[Path]:
    """The folders of a sweep's jobs that have begun, however deep `hydra.sweep.subdir` puts them."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if (path / STATUS).exists():
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from job_folders(path)


def in_order(path: Path) -> list[tuple[int, str]]:
    """Sorts folders by name, numbers by value."""
    return [(len(part), part) for part in path.parts]


def text(choices: dict[str, str]) -> str:
    """Choices on one line, long numbers rounded, what is made as a call; what a run has not at all is left out."""
    return " ".join(f"{key}={rounded(value)}" for key, value in choices.items() if value)


def rounded(value: str) -> str:
    try:
        return value if len(value) <= 6 else f"{float(value):.4g}"
    except ValueError:
        return legible(value)
