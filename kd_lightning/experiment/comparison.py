"""The main job: a teacher, a student alone, a distilled student, one comparison."""

from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from kd_lightning.data import ImageDataModule
from kd_lightning.experiment import once
from kd_lightning.experiment.build import build_module, build_network, example_input, file_metadata, model_name
from kd_lightning.experiment.summary import data_record, network_record, objective_record
from kd_lightning.experiment.training import (
    Fit,
    TestedNetwork,
    fit,
    load_checkpoint,
    selected_checkpoint,
    test,
    test_alone,
)
from kd_lightning.models import save_weights
from kd_lightning.module import DistillationModule
from kd_lightning.reporting.table import write_page
from kd_lightning.reporting.terminal import say
from kd_lightning.tracking.environment import environment
from kd_lightning.tracking.files import write_json
from kd_lightning.tracking.wandb import one_wandb_run


def compare(config: DictConfig, data: ImageDataModule, folder: Path) -> dict[str, Any]:
    """Run a checked config in its folder; returns the summary, which is written there last."""
    data.prepare_data()
    teacher = None if config.teacher.model is None else obtain_teacher(config, data)
    scratch = None if teacher is None or not config.scratch else obtain_scratch(config, data)
    say("student", f"{model_name(config.student)}, {' + '.join(config.loss)}")
    module = build_module(config, data, None if teacher is None else teacher.network)
    with one_wandb_run():
        done = fit(config, module, data, folder)
        student = test_student(done, module, data, folder)
    summary = summarise(config, data, module, {"teacher": teacher, "scratch": scratch, "student": student})
    if done.trainer.is_global_zero:
        write_files(folder, config, summary, student)
    return summary


def obtain_teacher(config: DictConfig, data: ImageDataModule) -> TestedNetwork:
    """The teacher: trained first, once, or from weights that exist."""
    if config.teacher.weights == "train":
        return obtain_trained("teacher", config.teacher, config, data)
    say("teacher", f"{model_name(config.teacher)}, weights: {config.teacher.weights or 'random'}")
    return test_alone(config, build_network("teacher", config.teacher, data), data)


def obtain_scratch(config: DictConfig, data: ImageDataModule) -> TestedNetwork:
    """The student trained without a teacher, from the same weights, on the same images, for as many steps."""
    return obtain_trained("student alone", config.student, config, data)


def obtain_trained(title: str, settings: DictConfig, config: DictConfig, data: ImageDataModule) -> TestedNetwork:
    """A network trained by itself: found, or trained now."""
    mark = once.fingerprint(once.shaped_by(settings, config, data))
    found = once.find(settings, config, data)
    say(title, f"{model_name(settings)}, {'found' if found else 'training'} ({mark})")
    return found or once.train(settings, config, data)


def test_student(done: Fit, module: DistillationModule, data: ImageDataModule, folder: Path) -> TestedNetwork:
    """The distilled student with its selected weights; its tests also hold the top-1 of best and last."""
    tests = {}
    for which in ("best", "last"):
        load_checkpoint(module, folder, which)
        tests[which] = test(done.trainer, module, data)
    chosen = selected_checkpoint(data)
    load_checkpoint(module, folder, chosen)
    top1 = {f"top1_{which}": metrics["top1"] for which, metrics in tests.items()}
    validation = best_validation(done.trainer)
    return TestedNetwork(module.student, {**tests[chosen], **top1, "top1_validation": validation}, done.time)


def best_validation(trainer: Trainer) -> float | None:
    """The highest value of what best.ckpt is chosen by; None where no checkpoints are kept."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None


def summarise(
    config: DictConfig,
    data: ImageDataModule,
    module: DistillationModule,
    networks: dict[str, TestedNetwork | None],
) -> dict[str, Any]:
    """What summary.json holds."""
    example = example_input(data)[:1]
    settings = {"teacher": config.teacher, "scratch": config.student, "student": config.student}
    student = networks["student"]
    assert student is not None
    return {
        "data": data_record(data),
        "seed": config.seed,
        **{
            role: None if tested is None else network_record(model_name(settings[role]), tested, example)
            for role, tested in networks.items()
        },
        "objective": objective_record(module.objective),
        "time": student.time,
    }


def write_files(folder: Path, config: DictConfig, summary: dict[str, Any], student: TestedNetwork) -> None:
    """A finished run's files; the summary last, for it marks the run as finished."""
    save_weights(student.network, folder / "student.safetensors", file_metadata(config.student, student.network))
    write_json(folder / "environment.json", environment())
    write_page(folder / "report.html", summary)
    write_json(folder / "summary.json", summary)
