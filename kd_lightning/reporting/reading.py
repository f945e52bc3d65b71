"""From folders to the runs in them: one run, several, or all jobs of a sweep."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kd_lightning.errors import UserError
from kd_lightning.reporting.collection import Collection
from kd_lightning.reporting.runs import MISSING, Run, is_run, read_run, split
from kd_lightning.run_folder import RECORD_OF_A_SWEEP
from kd_lightning.sweeps.record import number_of_trials, planned_jobs


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
    """All jobs of a multirun's folder, those not begun too; None where the folder is no multirun's."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder that kd-train printed, or a multirun's")
    begun = sorted((path for path in folder.iterdir() if path.is_dir() and is_run(path)), key=job_number)
    if is_run(folder) or not (begun or (folder / RECORD_OF_A_SWEEP).exists()):
        return None
    path = folder / "sweep.json"
    record = json.loads(path.read_text()) if path.exists() else None
    runs = {run.name: run for run in (read_run(path) for path in begun)}
    planned = planned_jobs(folder)
    for number, overrides in enumerate(planned):
        name = str(number)
        runs.setdefault(name, Run(folder / name, name, MISSING, split(overrides)))
    ordered = sorted(runs.values(), key=lambda run: job_number(run.folder))
    jobs = len(planned) or number_of_trials(folder) or (record and record["jobs"])
    return Collection(name_of(folder), ordered, True, record, jobs)


def name_of(folder: Path) -> str:
    """A folder's name, with the day in front where that is the folder around it."""
    *_, day, name = folder.resolve().parts
    return f"{day} {name}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) else name


def job_number(folder: Path) -> tuple[int, str]:
    return len(folder.name), folder.name
