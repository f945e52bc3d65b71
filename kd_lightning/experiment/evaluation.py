"""Testing a finished run again, from its folder alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig

from kd_lightning.columns import VALIDATED, Compared
from kd_lightning.data import DataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment.experiment import data_of
from kd_lightning.experiment.folder.stored_config import run_config
from kd_lightning.experiment.networks.student import Student, student_of
from kd_lightning.experiment.recipe import recipe_of
from kd_lightning.experiment.storage.late_results import log_later
from kd_lightning.experiment.task import drawn, task_of
from kd_lightning.experiment.teachers import teacher_of
from kd_lightning.experiment.testing import student_weights, test, test_student, weights_in
from kd_lightning.experiment.training import quiet
from kd_lightning.module import DistillationModule
from kd_lightning.reporting.figures.stored import write_figures
from kd_lightning.reporting.pages.page import write_run_page
from kd_lightning.runs.arrays import arrays_of, read_arrays, write_evaluation
from kd_lightning.runs.caution import part
from kd_lightning.runs.files import EVALUATION
from kd_lightning.runs.files import checkpoint as checkpoint_file
from kd_lightning.runs.folder import checkpoint_name, finished, write_summary
from kd_lightning.runs.summary import Summary
from kd_lightning.system.records import Damaged, archive_is_damaged


def evaluate(config: DictConfig) -> tuple[dict[str, Any], dict[str, Any], Compared, str]:
    """The student's test metrics now, those in the run's summary, their columns, and the checkpoint tested."""
    folder = Path(config.run).expanduser()
    run = run_config(config.run, config.trust)
    if config.data.root is not None:
        run.data.root = config.data.root
    checkpoint = checkpoint_name(config.checkpoint, folder)
    module, data = student_and_teacher(run, folder / checkpoint_file(checkpoint))
    tested, _ = test(one_device(run, config.trainer), module, data)
    summary = finished(folder)
    if summary is None:
        return tested, {}, module.task.compared(), checkpoint
    stored = {name: value for name, value in summary.result.record.items() if not name.endswith(VALIDATED)}
    now, before = ({**metrics, "part": part(metrics, summary.data)} for metrics in (tested, stored))
    return now, before, module.task.compared(), checkpoint


def test_run(folder: Path) -> Summary:
    """Test a finished run's student and write the result where a tested run has it; returns the summary.

    Rewrites summary.json, evaluation.npz and report.html, and reopens the run's loggers. Raises `UserError` where the
    folder holds no finished run.
    """
    config, selected = run_config(folder), checkpoint_name(None, folder)
    summary = finished(folder)
    if summary is None:
        raise UserError(f"run={folder}: has not finished; run the same kd-train in this folder again")
    module, data = student_and_teacher(config, folder / checkpoint_file(selected))
    weights = {name: student for name in ("last", "best") if (student := student_weights(folder, name)) is not None}
    metrics, arrays = test_student(one_device(config, {}), module, data, weights, selected)
    summary = replace(summary, data=summary.data | {"tested": True})
    summary = summary.with_records({summary.result.name: summary.result.record | metrics})
    constants, found = module.task.constants(data), read_arrays(folder / EVALUATION)
    tested = {name: arrays_of(name, found) for name in summary.plan.networks} | {summary.result.name: arrays}
    write_evaluation(folder, constants, tested)
    write_figures(folder, drawn(module.task, tested, constants))
    write_summary(folder, summary)
    write_run_page(folder)
    log_later(config, folder, summary, {**arrays, **constants})
    return summary


def student_and_teacher(run: DictConfig, checkpoint: Path) -> tuple[DistillationModule, DataModule]:
    """A run's student as a checkpoint has it, with its teacher where that is on this machine, and the run's data.

    Raises Damaged.
    """
    data = data_of(run)
    data.check()
    data.prepare_data()
    described, learned_from = student_of(run), teacher_of(run)
    teacher = learned_from.find(run, data)
    if archive_is_damaged(checkpoint):
        other = "last" if checkpoint.stem == "best" else "best"
        raise Damaged(f"{checkpoint}: is damaged; checkpoint={other} tests the other one")
    student = described.at(checkpoint).build(data, described.adapted_to_its_like(learned_from, data))
    module = DistillationModule(
        student=student,
        teacher=teacher,
        student_taps=described.logits_tap(),
        teacher_taps=learned_from.logits_tap(),
        task=task_of(run, data),
    )
    if module.teacher is not None and module.teacher.changes:  # as it was at the end, when it was measured
        module.teacher.load_state_dict(weights_in(checkpoint.parent.parent, "last", "teacher") or {})
    return module, data


def one_device(run: DictConfig, options: Mapping[str, Any]) -> Trainer:
    """The run's trainer on one device, silent."""
    quiet()
    fixed = {"devices": 1, "strategy": "auto", "logger": False, "enable_checkpointing": False}
    return instantiate(recipe_of(Student.owner, run).trainer, **{**options, **fixed})
