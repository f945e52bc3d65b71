"""Testing a finished run again, from its folder alone."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn

from kd_lightning.data import ImageDataModule
from kd_lightning.errors import UserError
from kd_lightning.experiment import once
from kd_lightning.experiment.build import adapted_to_its_like, build_network, has_teacher, is_file, is_own_teacher
from kd_lightning.experiment.resume import finished
from kd_lightning.experiment.training import quiet, test
from kd_lightning.module import DistillationModule
from kd_lightning.reporting.terminal import say


def evaluate(config: DictConfig) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The student's test metrics now, those in the run's summary, and the name of the checkpoint tested."""
    folder = Path(config.run)
    run = run_config(folder)
    if config.data.root is not None:
        run.data.root = config.data.root
    data: ImageDataModule = instantiate(run.data)
    data.check()
    data.prepare_data()
    checkpoint = checkpoint_name(config.checkpoint, folder)
    weights = str(folder / "checkpoints" / f"{checkpoint}.ckpt")
    teacher = find_teacher(run, data)
    settings = DictConfig({**run.student, "weights": weights})
    module = DistillationModule(
        student=build_network("student", settings, data, adapted_to_its_like(run, data)),
        teacher=teacher,
        num_classes=data.num_classes,
    )
    quiet()
    one_device = {**config.trainer, "devices": 1, "strategy": "auto", "logger": False, "enable_checkpointing": False}
    trainer = instantiate(run.trainer, **one_device)
    stored = (finished(folder) or {}).get("student", {})
    return test(trainer, module, data), stored, checkpoint


def run_config(folder: Path) -> DictConfig:
    """The composed config of a run, its paths where the run is now."""
    path = folder / ".hydra" / "config.yaml"
    if not path.exists():
        raise UserError(f"run={folder}: no run's folder; give one that kd-train printed, such as run=outputs/DATE/TIME")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    config.paths.output_dir = str(folder)
    return config


def checkpoint_name(wanted: str | None, folder: Path) -> str:
    """The checkpoint asked for, which must be there; for None the one that the run's own table shows."""
    if wanted not in (None, "best", "last"):
        raise UserError(f"checkpoint={wanted}: must be best, last or null")
    summary = finished(folder)
    name = wanted or (summary["data"]["selected_checkpoint"] if summary else "last")
    if not (folder / "checkpoints" / f"{name}.ckpt").exists():
        raise UserError(f"run={folder}: has no checkpoints/{name}.ckpt; let kd-train finish in this folder first")
    return name


def find_teacher(run: DictConfig, data: ImageDataModule) -> nn.Module | None:
    """The run's teacher; None, and a line that says so, where it is not on this machine."""
    if not has_teacher(run):
        return None
    if is_own_teacher(run):
        teacher: nn.Module = instantiate(run.teacher)
        return teacher
    if run.teacher.weights == "train":
        found = once.find(run.teacher, run, data)
        network = None if found is None else found.network
    elif is_file(run.teacher.weights) and not Path(run.teacher.weights).expanduser().exists():
        network = None
    else:
        seed_everything(run.seed, workers=True, verbose=False)  # for a teacher of random weights
        network = build_network("teacher", run.teacher, data)
    if network is None:
        say("teacher", "not on this machine: agreement is left out")
    return network
