"""multirun.yaml: what a sweep was to do, for those who look at its folder later."""

from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from kd_lightning.errors import UserError
from kd_lightning.sweeps.plan import given
from kd_lightning.sweeps.plan import grid
from kd_lightning.sweeps.plan import read_plan
from kd_lightning.sweeps.plan import searches
from kd_lightning.runs.folder import RECORD_OF_A_SWEEP


def planned_jobs(folder: Path) -> list[list[str]]:
    """The overrides of every job of a grid, in the jobs' order; none where only the sweeper knew them."""
    hydra = read_plan(folder)
    if hydra is None or searches(hydra.sweeper):
        return []
    try:
        return grid(OverridesParser.create().parse_overrides(given(hydra)))
    except (HydraException, UserError):  # a choice of configs by pattern, which only the run itself can look up
        return []


def number_of_trials(folder: Path) -> int | None:
    """How many jobs a search has; None for a grid."""
    hydra = read_plan(folder)
    return int(hydra.sweeper.n_trials) if hydra is not None and searches(hydra.sweeper) else None
