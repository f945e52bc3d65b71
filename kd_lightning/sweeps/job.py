"""One job of a multirun: whatever becomes of it stays in its folder, and the sweep goes on."""

import math
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd_lightning.columns import Column, Measure
from kd_lightning.config.conf import as_typed
from kd_lightning.config.folder.run_folder import run_folder
from kd_lightning.config.parts.task import make_task
from kd_lightning.config.refusals.bad_input import BAD_INPUT, one_line
from kd_lightning.errors import NonFinite, UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.experiment.run import run
from kd_lightning.runs.files import LOG
from kd_lightning.runs.folder import finished, one_run_in
from kd_lightning.runs.status import FAILED, FINISHED, RUNNING, Status, read_status
from kd_lightning.runs.summary import Summary
from kd_lightning.sweeps.devices import one_device
from kd_lightning.sweeps.guard import job_lock
from kd_lightning.sweeps.plan import searches
from kd_lightning.sweeps.process import ProcessError, number_of_ranks, run_in_own_process
from kd_lightning.system.disk import failure_of, is_of_the_disk
from kd_lightning.system.locks import held


def sweep_job(config: DictConfig) -> float:
    """Run a job, unless it has ended; returns what it reached on validation data, or the worst there is if it failed.

    Raises `UserError` if the folder holds another job that has ended.
    """
    folder = run_folder()
    with held(job_lock(folder), str(folder)):
        return job_in(folder, config)


def job_in(folder: Path, config: DictConfig) -> float:
    """The same, in a folder that no other process works in."""
    hydra = HydraConfig.get()
    started, began = time.time(), time.monotonic()  # the first may be set back meanwhile
    status = Status(RUNNING, as_typed(hydra.overrides.task), started)
    before = read_status(folder)
    if before is not None:
        refuse_another_job(before, status, folder)
        has_results = before.status != FINISHED or finished(folder) is not None
        if before.has_ended(searches(hydra.sweeper)) and has_results:
            return score(before.validation, before.column or selects_on(config))
    status.write(folder)
    with output_to(folder / LOG):
        try:
            summary = run_job(config, folder)
        except Exception as error:
            if is_of_the_disk(error.__cause__) if isinstance(error, BAD_INPUT) else failure_of(error) is not None:
                raise  # and the sweep ends; the job is run again once there is room
            traceback.print_exc()
            ended = started + time.monotonic() - began
            column = selects_on(config)
            replace(status, status=FAILED, error=describe(error), column=column, ended=ended).write(folder)
            return score(None, column)
    column = selects_on(config)
    validation = None if column is None else summary.result.record[Measure(column, validated=True).name]
    ended = started + time.monotonic() - began
    replace(status, status=FINISHED, validation=validation, column=column, ended=ended).write(folder)
    return score(validation, column)


def run_job(config: DictConfig, folder: Path) -> Summary:
    """The job's run; its result is not tested where the sweep selects on validation data."""
    show_no_bar(config)
    experiment = check(config)
    config.test = config.test and experiment.data.validates_on != "validation"
    if number_of_ranks(config) > 1:
        return run_in_own_process(config, folder)
    with one_run_in(folder), one_device():
        return run(experiment, folder)


def show_no_bar(config: DictConfig) -> None:
    if config.callbacks and config.callbacks.get("progress_bar"):
        config.callbacks.progress_bar = None


def refuse_another_job(before: Status, now: Status, folder: Path) -> None:
    """Raise `UserError` unless the overrides are the same."""
    if before.overrides != now.overrides:
        raise UserError(
            f"{folder}: holds the job {' '.join(before.overrides)}, not {' '.join(now.overrides)}; give the sweep "
            "another hydra.sweep.dir, and each job its own hydra.sweep.subdir"
        )


def describe(error: Exception) -> str:
    """An error on one line, with its type unless it tells what is wrong by itself."""
    message = one_line(error)
    return message if isinstance(error, (*BAD_INPUT, NonFinite, ProcessError)) else f"{type(error).__name__}: {message}"


def selects_on(config: DictConfig) -> Column | None:
    """What the job's task selects on; None where the task cannot be made."""
    try:
        return make_task(config).selects_on
    except BAD_INPUT:
        return None


def score(validation: float | None, column: Column | None) -> float:
    """What a sweeper is told: a number that is none, which a search cannot take, counts as the worst there is."""
    if validation is not None and math.isfinite(validation):
        return validation
    return 0.0 if column is None else column.worst


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send what Python writes to the terminal into a file, behind what stands there."""
    with log.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        yield
