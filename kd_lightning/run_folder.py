"""The folder of a run: found, its config written into it, removed where nothing was made."""

import shutil
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write

RECORD_OF_A_SWEEP = "multirun.yaml"  # which Hydra writes beside the jobs
BEFORE_THE_FIRST_CHECKPOINT = {
    *(".hydra", "checkpoints", "initialization", "metrics.csv", "scratch", "teacher", "tensorboard", "wandb")
}


def run_folder() -> Path:
    """The folder of this run, which ranks that a strategy launches are told by its name."""
    hydra_config: Any = HydraConfig.get()
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir
    return Path(hydra_config.run.dir)


def save_config(config: DictConfig, folder: Path) -> None:
    """Write `.hydra/`, as Hydra itself would before the config is checked: over that of an earlier run."""
    hydra_config = HydraConfig.get()
    record = folder / ".hydra"
    record.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, record / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra_config}), record / "hydra.yaml")
    OmegaConf.save(hydra_config.overrides.task, record / "overrides.yaml")


def discard_empty_run() -> None:
    """Remove the folder of a run that ended before its first checkpoint."""
    folder = Path(HydraConfig.get().runtime.output_dir).resolve()
    if folder == Path.cwd() or not folder.is_dir() or list(folder.rglob("*.ckpt")):
        return
    if {entry.name for entry in folder.iterdir()} <= BEFORE_THE_FIRST_CHECKPOINT:
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder, and the two around it if they are empty now."""
    shutil.rmtree(folder)
    for parent in list(folder.resolve().parents)[:2]:
        if parent != Path.cwd() and parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
