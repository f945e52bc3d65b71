"""The main job: the steps of a plan, and one comparison of the networks that they gave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kd_lightning.config.parts.task import drawn
from kd_lightning.config.refusals.bad_input import BAD_INPUT
from kd_lightning.config.refusals.blame import SEE_ALL, reason_of, setting
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.rehearsal import rehearse
from kd_lightning.experiment.execution import Execution
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.plans.follow import follow
from kd_lightning.reporting.figures.stored import write_figures
from kd_lightning.reporting.pages.page import write_run_page
from kd_lightning.runs.arrays import Arrays, write_evaluation
from kd_lightning.runs.files import ENVIRONMENT
from kd_lightning.runs.folder import write_summary
from kd_lightning.runs.metrics_rows import write_checksums
from kd_lightning.runs.summary import Summary
from kd_lightning.system.files import write_json
from kd_lightning.tasks import Task
from kd_lightning.terminal import is_first_rank
from kd_lightning.tracking.environment import environment
from kd_lightning.tracking.memory import forget_peaks


def compare(experiment: Experiment, folder: Path, began: DictConfig) -> Summary:
    """Run an experiment in its folder; returns the summary, which is written there last.

    `began` is the config that the run began with, on other devices perhaps. Raises `UserError` for a plan without a
    training that the run is about.
    """
    read(experiment.data, experiment.config)
    rehearse(experiment, folder)
    forget_peaks()  # those of a sweep's earlier jobs
    parts = experiment.parts if began is experiment.config else experiment.parts_as(began)
    with Execution(experiment, parts, folder) as execution:
        follow(experiment.plan.steps(parts), execution.carry_out)
        summary = execution.finish()
    if is_first_rank():
        tested = {name: one.tested.arrays for name, one in execution.compared.items()}
        write_files(folder, summary, experiment.task, experiment.task.constants(experiment.data), tested)
    return summary


def read(data: DataModule, config: DictConfig) -> None:
    """Download and read the data. Raises `UserError` for whatever a class of the user's own raises."""
    try:
        data.prepare_data()
        data.setup()
    except (*BAD_INPUT, OSError):
        raise
    except Exception as error:
        raise UserError(f"{setting('data', config)}: cannot be read: {reason_of(error)}; {SEE_ALL}") from error


def write_files(
    folder: Path, summary: Summary, task: Task, constants: Mapping[str, Any], arrays: Mapping[str, Arrays]
) -> None:
    """A finished run's files; the summary marks it as finished, and the page is made of them all."""
    write_json(folder / ENVIRONMENT, environment())
    write_evaluation(folder, constants, arrays)
    write_figures(folder, drawn(task, arrays, constants))
    write_checksums(folder)
    write_summary(folder, summary)
    write_run_page(folder)
