"""The jobs of a grid, composed and checked before the first one runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from kd_lightning.config.checks.unused import given, is_taken, unused
from kd_lightning.config.checks.values import check_values
from kd_lightning.config.conf import as_typed
from kd_lightning.config.refusals.bad_input import BAD_INPUT, one_line, raise_missing_key
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.runs.status import read_status

LONGEST = 255  # bytes of a name in most file systems
ON_THIS_MACHINE = ("hydra._internal.", "hydra_plugins.hydra_joblib_launcher.", "LocalLauncher")


@dataclass(frozen=True)
class Job:
    """One job of a grid: its number with what it alone is given, its config with Hydra's part, and its folder."""

    name: str
    config: DictConfig
    folder: Path

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def current(self) -> Iterator[DictConfig]:
        """The config as the job will see it, while `${hydra:…}` in it looks at the job's own part of Hydra's."""
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(self.config)
        try:
            seen = self.config.copy()
            OmegaConf.set_readonly(seen, False)
            with open_dict(seen):
                del seen["hydra"]
            yield seen
        finally:
            HydraConfig.instance().cfg = before


def check_jobs(config: DictConfig, jobs: list[list[str]]) -> None:
    """Raise `UserError` for the first job that cannot run, or has no folder of its own, and for keys without effect.

    Where jobs run on other machines, their devices and files are not looked at. What has ended is not checked again.
    """
    shared = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    composed = [
        compose(config, number, overrides, f"job {number}: {' '.join(o for o in overrides if o not in shared)}")
        for number, overrides in enumerate(jobs)
    ]
    check_folders(Path(config.hydra.sweep.dir), composed)
    checked: set[str] = set()
    here = runs_here(config.hydra.launcher)
    for job in composed:
        before = read_status(job.folder)
        if before is not None and before.has_ended(of_a_search=False):
            continue
        with job.current() as seen, naming(job):
            check_values(seen)
            content = str({**seen, "seed": 0})
            if here and content not in checked:
                check(seen)
            checked.add(content)
    refuse_unused(composed, as_typed(config.hydra.overrides.task))


def refuse_unused(jobs: list[Job], overrides: list[str]) -> None:
    """Raise `UserError` for a key that the command line gives and that nothing takes in any of the jobs."""
    for key, override in given(overrides).items():
        for job in jobs:
            with job.current() as seen:
                if is_taken(key, seen):
                    break
        else:
            raise unused(key, override, jobs[0].config)


def check_search(config: DictConfig, overrides: list[Override]) -> None:
    """Raise `UserError` for a key that a search varies and that nothing takes; what it tries is known only later."""
    lines = [str(override.input_line) for override in overrides]
    swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
    if not any(key in config.hydra.runtime.choices for key in swept):  # groups, which may bring other terms
        fixed = [line for line, override in zip(lines, overrides, strict=True) if not override.is_sweep_override()]
        refuse_unused([compose(config, 0, fixed, "each job")], lines)


def compose(config: DictConfig, number: int, overrides: list[str], name: str) -> Job:
    """A job as its launcher will compose it. Raises UserError where it cannot be composed."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        composed: Any = hydra.config_loader.load_sweep_config(config, overrides)
    except BAD_INPUT as error:
        raise_missing_key(error.__cause__ or error, overrides, name)
        raise UserError(f"{one_line(error)} ({name})") from error
    with open_dict(composed):
        composed.hydra.job.id, composed.hydra.job.num = f"job_{number}", number
    job = Job(name, composed, Path())
    with job.current():
        folder = Path(composed.hydra.sweep.dir, str(composed.hydra.sweep.subdir)).absolute()
    with open_dict(composed.hydra.runtime), read_write(composed.hydra.runtime):
        composed.hydra.runtime.output_dir = str(folder)
    return Job(name, composed, folder)


def check_folders(sweep: Path, jobs: list[Job]) -> None:
    """Raise `UserError` unless each job has a folder to itself below the sweep's."""
    taken: dict[Path, Job] = {}
    root = sweep.resolve()
    for job in jobs:
        folder = job.folder.resolve()
        subdir = f"hydra.sweep.subdir={job.config.hydra.sweep.subdir}"
        if root not in folder.parents:
            raise UserError(
                f"{subdir}: {job} would run in {folder}, outside of hydra.sweep.dir={sweep}; give a folder below it"
            )
        if any(len(os.fsencode(part)) > LONGEST for part in folder.parts):
            raise UserError(f"{subdir}: a folder's name has at most {LONGEST} bytes; name less of what differs ({job})")
        taken.setdefault(folder, job)
    for job in jobs:
        folder = job.folder.resolve()
        others = [taken[path] for path in (folder, *folder.parents) if path in taken and taken[path] is not job]
        if others:
            raise UserError(
                f"hydra.sweep.subdir={job.config.hydra.sweep.subdir}: {others[0]} and {job} would run in one folder; "
                "let it name all that differs, or leave it at ${hydra.job.num}"
            )


def runs_here(launcher: DictConfig) -> bool:
    """Whether a launcher's jobs see this machine's devices and files."""
    target = str(launcher.get("_target_"))
    return target.startswith(ON_THIS_MACHINE) or target.endswith(ON_THIS_MACHINE)


@contextmanager
def naming(job: Job) -> Iterator[None]:
    """Bad input with the job that it is of. What no check knows is left to the job itself, which records it.

    Raises UserError.
    """
    try:
        yield
    except BAD_INPUT as error:
        raise UserError(f"{one_line(error)} ({job})") from error
    except Exception:
        return
