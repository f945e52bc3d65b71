"""What a multirun is about to do, known from its config before the first job."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.conf import as_typed
from kd_lightning.errors import UserError
from kd_lightning.runs.collections.grouping import is_compared
from kd_lightning.runs.files import LOCK, MULTIRUN, PLANNED
from kd_lightning.runs.folder import remove_folder
from kd_lightning.runs.planned import Planned, read_planned
from kd_lightning.runs.status import job_folders
from kd_lightning.system.files import finite


@dataclass(frozen=True)
class Plan:
    """A sweep's folder, its jobs, and the keys that differ between them."""

    folder: Path
    planned: Planned
    swept: tuple[str, ...]

    @property
    def jobs(self) -> int:
        """How many there are."""
        return self.planned.count or 0

    @property
    def searches(self) -> bool:
        """Whether results guide it."""
        return self.planned.trials is not None

    @property
    def compared(self) -> tuple[str, ...]:
        """The keys that make a configuration: all but the seed, and what decides no number."""
        return tuple(key for key in self.swept if is_compared(key))


def make_plan(config: DictConfig) -> Plan:
    """The plan of a multirun.

    Raises `UserError` if its folder holds another, if it searches on the test set, or if a job of it cannot run.
    """
    folder = Path(config.hydra.sweep.dir)
    refuse_another_sweep(config, folder)
    overrides = parse(config)
    search = searches(config.hydra.sweeper)
    given = as_typed(config.hydra.overrides.task), sweeper_values(config.hydra)
    if search:
        from kd_lightning.sweeps.jobs import check_search

        refuse_search_on_test(config)
        check_search(config, overrides)
        planned = Planned([], int(config.hydra.sweeper.n_trials), *given)
    else:
        from kd_lightning.sweeps.jobs import check_jobs

        jobs = grid(overrides)
        check_jobs(config, jobs)
        planned = Planned(jobs, None, *given)
    swept = dict.fromkeys(override.get_key_element() for override in overrides if override.is_sweep_override())
    return Plan(folder, planned, tuple(swept))


def grid(overrides: list[Override]) -> list[list[str]]:
    """What each job of a grid is given, in the jobs' order. Raises UserError where there is none."""
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    if not jobs:
        swept = [override.input_line for override in overrides if override.is_sweep_override()]
        raise UserError(f"{' '.join(map(str, swept))}: makes no job; give each key at least one value")
    return jobs


def searches(sweeper: DictConfig) -> bool:
    """Whether a sweeper chooses each job by the results of those before, as Optuna's does."""
    return "n_trials" in sweeper


def parse(config: DictConfig) -> list[Override]:
    """All that a multirun's jobs are given: the sweeper's own parameters, then the command line."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(given(config.hydra))


def given(hydra: DictConfig) -> list[str]:
    """The overrides of a multirun as they were typed."""
    parameters = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
    return [*parameters, *as_typed(hydra.overrides.task)]


def refuse_another_sweep(config: DictConfig, folder: Path) -> None:
    """Raise `UserError` if the folder holds jobs of a sweep with other overrides."""
    before = read_planned(folder) if has_begun(folder) else None
    if before is None:
        return
    if [*before.given] != as_typed(config.hydra.overrides.task) or before.sweeper != sweeper_values(config.hydra):
        raise UserError(
            f"hydra.sweep.dir={folder}: holds the sweep {' '.join(before.given)}; give the same overrides in "
            "the same order to go on with it, or another folder"
        )


def sweeper_values(hydra: DictConfig) -> dict[str, Any]:
    """What decides the jobs beside the command line, as planned.json holds it; there may be more of them later."""
    values = OmegaConf.to_container(hydra.sweeper, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(name): finite(value) for name, value in values.items() if name != "n_trials"}


def refuse_search_on_test(config: DictConfig) -> None:
    """Raise `UserError` if there is no validation split for a search to maximise on."""
    from kd_lightning.config.checks.recipes import check_data

    if check_data(config).validates_on != "validation":
        raise UserError("data.val_fraction=0: a search would select on the test set; set data.val_fraction above 0")


def has_begun(folder: Path) -> bool:
    return any(True for _ in job_folders(folder))


def discard_empty_sweep(folder: Path) -> None:
    """Remove the folder of a sweep that ended before its first job."""
    if (
        folder.is_dir()
        and not has_begun(folder)
        and {entry.name for entry in folder.iterdir()} <= {MULTIRUN, PLANNED, LOCK}
    ):
        remove_folder(folder)
