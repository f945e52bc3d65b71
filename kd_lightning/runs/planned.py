"""planned.json: the jobs that a sweep was to have, for those who look at its folder later."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, sound_record

NAME = "planned.json"
RECORD = {"jobs": [[str]], "trials": (int, NONE)}


@dataclass(frozen=True)
class Planned:
    """What each job of a grid is given, in the jobs' order; of a search, which chooses them, their number."""

    jobs: Sequence[Sequence[str]] = ()
    trials: int | None = None

    @property
    def count(self) -> int | None:
        return self.trials or len(self.jobs) or None


def write_planned(folder: Path, planned: Planned) -> None:
    write_json(folder / NAME, {"jobs": [list(job) for job in planned.jobs], "trials": planned.trials})


def read_planned(folder: Path) -> Planned:
    """What was planned; nothing where that is not known, with a warning where the file is damaged."""
    found = sound_record(folder / NAME, RECORD, "the sweep is known by its jobs alone")
    return Planned() if found is None else Planned(found["jobs"], found["trials"])
