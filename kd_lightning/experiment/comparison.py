"""The main job: a teacher, a student alone, a distilled student, one comparison."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from kd_lightning.data import ImageDataModule
from kd_lightning.experiment import once
from kd_lightning.experiment.build import (
    build_module,
    build_network,
    file_metadata,
    has_teacher,
    is_own_teacher,
    model_name,
)
from kd_lightning.experiment.initialization import initialise
from kd_lightning.experiment.summary import summarise
from kd_lightning.experiment.training import Fit, TestedNetwork, fit, load_checkpoint, test, test_alone
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
    teacher = obtain_teacher(config, data, folder) if has_teacher(config) else None
    network = None if teacher is None else teacher.network
    module = build_module(config, data, network)
    scratch = once.obtain("scratch", config, data, folder) if teacher and config.scratch else None
    say("student", f"{model_name(config.student)}, {' + '.join(name for name, _ in module.objective.items())}")
    if config.initialization:
        initialise(module, config, data, network, folder)
    with one_wandb_run():
        done = fit(config, module, data, folder, folder)
        student, selected = test_student(done, module, data, folder)
    networks = {"teacher": teacher, "scratch": scratch, "student": student}
    summary = summarise(config, data, module.objective, networks, selected)
    if done.trainer.is_global_zero:
        write_files(folder, config, summary, student)
    return summary


def obtain_teacher(config: DictConfig, data: ImageDataModule, folder: Path) -> TestedNetwork:
    """The teacher: trained first, once, or from weights that exist, or a class of the user's own."""
    if is_own_teacher(config):
        say("teacher", model_name(config.teacher))
        return test_alone(config, instantiate(config.teacher), data)
    if config.teacher.weights == "train":
        return once.obtain("teacher", config, data, folder)
    say("teacher", f"{model_name(config.teacher)}, weights: {config.teacher.weights or 'random'}")
    seed_everything(config.seed, workers=True, verbose=False)  # for random weights
    return test_alone(config, build_network("teacher", config.teacher, data), data)


def test_student(
    done: Fit, module: DistillationModule, data: ImageDataModule, folder: Path
) -> tuple[TestedNetwork, str]:
    """The distilled student with the weights that it is judged by, and which these are, `best` or `last`.

    The best epoch is the one that validation data select; on the test set it would be selected on it.
    """
    last_weights = {name: value.clone() for name, value in module.student.state_dict().items()}
    last = test(done.trainer, module, data)
    has_best = load_checkpoint(module, folder, "best")
    best = test(done.trainer, module, data) if has_best else last
    selects = data.validates_on == "validation" and has_best
    if not selects:
        module.student.load_state_dict(last_weights)
    tested = {
        **(best if selects else last),
        "top1_best": best["top1"],
        "top1_last": last["top1"],
        "top1_validation": best_validation(done.trainer) if selects else None,
    }
    return TestedNetwork(module.student, tested, done.time), "best" if selects else "last"


def best_validation(trainer: Trainer) -> float | None:
    """The highest value of what best.ckpt is chosen by."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_score is not None:
            return float(callback.best_model_score)
    return None


def write_files(folder: Path, config: DictConfig, summary: dict[str, Any], student: TestedNetwork) -> None:
    """A finished run's files; the summary last, for it marks the run as finished."""
    save_weights(student.network, folder / "student.safetensors", file_metadata(config.student, student.network))
    write_json(folder / "environment.json", environment())
    write_page(folder / "report.html", summary)
    write_json(folder / "summary.json", summary)
