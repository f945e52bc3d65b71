"""From folders to the runs in them: one run, several, or all jobs of a sweep."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.files import SELECTION, STATUS
from kd_lightning.runs.folder import is_sweep
from kd_lightning.runs.planned import Planned, read_planned
from kd_lightning.runs.run import MISSING, Run, is_run, read_run, split
from kd_lightning.runs.status import FAILED, FINISHED, in_order
from kd_lightning.system.records import NONE, Each, sound_record, warn_of_absent

RECORD = {"jobs": int, "selected": ({"overrides": Each(object), "jobs": [str]}, NONE)}
NOT_SELECTED = "what was selected is not shown; the same kd-train -m makes it anew"


def read(paths: Sequence[Path]) -> Collection:
    """What lies in the folders, runs or sweeps; raises `UserError` for a path that is neither."""
    distinct = [*{path.resolve(): path for path in paths}.values()]
    sweeps = {path: sweep for path in distinct if (sweep := read_sweep(path)) is not None}
    if len(distinct) == 1 and sweeps:
        return sweeps[distinct[0]]
    runs: list[Run] = []
    for path in distinct:
        if path in sweeps:
            runs += [replace(run, name=f"{path.resolve().name}/{run.name}") for run in sweeps[path].runs]
        else:
            runs.append(read_run(path, None if len(distinct) == 1 else str(path)))
    title = name_of(distinct[0]) if len(distinct) == 1 else f"{len(runs)} runs"
    return Collection(title, runs, is_sweep=False)


def read_sweep(folder: Path) -> Collection | None:
    """All jobs of a multirun's folder, those not begun too; None where the folder is no multirun's.

    Raises UserError where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder that kd-train printed, or a multirun's")
    recorded = is_sweep(folder)
    begun = [*(jobs_in(folder) if recorded else (path for path in folder.iterdir() if is_run(path)))]
    if is_run(folder) or not (begun or recorded):
        return None
    places = sorted((path.relative_to(folder) for path in begun), key=in_order)
    runs = [read_run(folder / place, str(place)) for place in places]
    planned = (read_planned(folder) if recorded else None) or Planned()
    if planned.count and sum(run.status in (FINISHED, FAILED) for run in runs) >= planned.count:
        warn_of_absent(folder / SELECTION, NOT_SELECTED)
    record = sound_record(folder / SELECTION, RECORD, NOT_SELECTED)
    runs = sorted([*runs, *not_begun(folder, planned.jobs, runs)], key=lambda run: in_order(Path(run.name)))
    jobs = planned.count or (record and record["jobs"])
    return Collection(name_of(folder), runs, True, record, jobs)


def jobs_in(folder: Path) -> Iterator[Path]:
    """The folders of a sweep's jobs that have begun, however deep, with a warning where one lost its status."""
    for path in folder.iterdir():
        if is_run(path):
            warn_of_absent(path / STATUS, "the job is taken for a run that was started by itself")
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from jobs_in(path)


def not_begun(folder: Path, planned: Sequence[Sequence[str]], begun: list[Run]) -> list[Run]:
    """The jobs of a grid that have no folder yet, by its name or by what they are given: it may have any name."""
    names, given = {run.name for run in begun}, [run.overrides for run in begun]
    numbered = {str(number): split(overrides) for number, overrides in enumerate(planned)}
    missing = {name: o for name, o in numbered.items() if name not in names and o not in given}
    return [Run(folder / name, name, MISSING, overrides) for name, overrides in missing.items()]


def name_of(folder: Path) -> str:
    """A folder's name, with the day in front where that is the folder around it."""
    *_, day, name = folder.resolve().parts
    return f"{day} {name}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) else name
