"""planned.json: the jobs that a sweep was to have, for those who look at its folder later."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kd_lightning.runs.files import PLANNED
from kd_lightning.system.files import write_json
from kd_lightning.system.records import NONE, Each, sound_record, warn_of_absent

RECORD = {"jobs": [[str]], "trials": (int, NONE), "given": [str], "sweeper": Each(object)}
UNKNOWN = "the sweep is known by its jobs alone"


@dataclass(frozen=True)
class Planned:
    """What each job of a grid is given, in the jobs' order; of a search, which chooses them, their number.

    `given` is the command line, `sweeper` what else decides the jobs.
    """

    jobs: Sequence[Sequence[str]] = ()
    trials: int | None = None
    given: Sequence[str] = ()
    sweeper: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int | None:
        return self.trials or len(self.jobs) or None


def write_planned(folder: Path, planned: Planned) -> None:
    write_json(folder / PLANNED, asdict(planned))


def read_planned(folder: Path) -> Planned | None:
    """What was planned in a sweep's folder; None, with a warning, where that is damaged or not there any more."""
    warn_of_absent(folder / PLANNED, UNKNOWN)
    found = sound_record(folder / PLANNED, RECORD, UNKNOWN)
    return None if found is None else Planned(**{name: found[name] for name in RECORD})
