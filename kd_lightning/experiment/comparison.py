"""The main job: a teacher, a student alone, a distilled student, one comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.bad_input import BAD_INPUT
from kd_lightning.experiment.checks.blame import SEE_ALL, reason_of, setting
from kd_lightning.experiment.checks.rehearsal import rehearse
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.folder.memory import forget_peaks
from kd_lightning.experiment.folder.summary import summarise
from kd_lightning.experiment.initialization import initialise
from kd_lightning.experiment.networks.build import build_module
from kd_lightning.experiment.recipe import recipe_of
from kd_lightning.experiment.storage import networks
from kd_lightning.experiment.task import drawn
from kd_lightning.experiment.testing import (
    Metrics,
    TestedNetwork,
    measure_alone,
    selected_checkpoint,
    student_weights,
    test_student,
    untested,
    validate,
)
from kd_lightning.experiment.training import Fit, fit
from kd_lightning.models import save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.reporting.figures.stored import write_figures
from kd_lightning.reporting.pages.page import write_run_page
from kd_lightning.runs.arrays import Arrays, write_evaluation
from kd_lightning.runs.files import BEST, CHECKPOINTS, ENVIRONMENT, weights_of
from kd_lightning.runs.folder import write_summary
from kd_lightning.runs.metrics_rows import write_checksums
from kd_lightning.runs.summary import Summary
from kd_lightning.system.files import write_json
from kd_lightning.tasks import Task
from kd_lightning.terminal import say, warn
from kd_lightning.tracking.environment import environment
from kd_lightning.tracking.outcome import outcome_of
from kd_lightning.tracking.results import log_results
from kd_lightning.tracking.wandb.logger import one_wandb_run


def compare(experiment: Experiment, folder: Path, began: DictConfig) -> Summary:
    """Run an experiment in its folder; returns the summary, which is written there last.

    `began` is the config that the run began with, on other devices perhaps.
    """
    config, data, described, learned_from = experiment
    read(data, config)
    rehearse(experiment, folder)
    forget_peaks()  # those of a sweep's earlier jobs
    teacher = learned_from.obtain(config, data, folder, began)
    network = None if teacher is None else teacher.network
    module = build_module(experiment, network, began)
    alone = described in experiment.trained_alone()
    scratch = networks.obtain("scratch", described, config, data, folder / "scratch", began) if alone else None
    say("student", f"{described.name}, {' + '.join(name for name, _ in module.objective.items())}")
    title = f"{described.name} ← {learned_from.name}" if learned_from.exists else described.name
    if config.initialization:
        initialise(module, experiment, network, folder, began, title)
    with one_wandb_run():
        recipe = recipe_of(described.owner, config)
        done = fit(recipe, module, data, folder, folder, "student", title, learned_from.callbacks())
        student, selected = measure_student(done, module, data, folder, config.test)
        if module.teacher is not None and module.teacher.changes:
            teacher = measure_alone(config, module.teacher, data)
        compared = {"teacher": teacher, "scratch": scratch, "student": student}
        names = {"teacher": learned_from.name, "scratch": described.name, "student": described.name}
        skipped = module.finite.skipped if config.on_nonfinite == "skip" else None
        summary = summarise(config, data, module.task, module.objective, compared, names, selected, skipped)
        if done.trainer.is_global_zero:
            weights = folder / weights_of(summary.result.name)
            save_weights(student.network, weights, described.file_metadata(student.network))
            constants = module.task.constants(data)
            log_results(done.trainer.loggers, outcome_of(summary, {**student.arrays, **constants}, weights))
    if done.trainer.is_global_zero:
        tested = {role: network.arrays for role, network in compared.items() if network}
        write_files(folder, summary, module.task, constants, tested)
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


def measure_student(
    done: Fit, module: DistillationModule, data: DataModule, folder: Path, tests: bool
) -> tuple[TestedNetwork, str]:
    """The distilled student with the weights that it is judged by, and which these are, `best` or `last`.

    Without `tests` the test set is not read, and its metrics are null.
    """
    weights = {"last": {name: value.clone() for name, value in module.student.state_dict().items()}}
    best = student_weights(folder, "best")
    if best is not None:
        weights["best"] = best
    elif BEST in [Path(getattr(one, "best_model_path", "")).name for one in done.trainer.checkpoint_callbacks]:
        warn(f"{folder / CHECKPOINTS / BEST}: is not there any more; the last weights are reported")
    selected = selected_checkpoint(data, folder)
    metrics: Metrics = untested(module.task)
    arrays: Arrays = {}
    if tests:
        metrics, arrays = test_student(done.trainer, module, data, weights, selected)
    module.student.load_state_dict(weights[selected])
    metrics |= validate(done.trainer, module, data)
    return TestedNetwork(module.student, metrics, done.time, arrays), selected


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
