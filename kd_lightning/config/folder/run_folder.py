"""The folder that Hydra gives a run."""

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, read_write

from kd_lightning.errors import UserError
from kd_lightning.runs.files import CHECKPOINTS, HYDRA, INITIALIZATION, METRICS, TENSORBOARD, WANDB, checkpoint
from kd_lightning.runs.folder import remove_folder
from kd_lightning.terminal import are_started_outside

LOGS = {METRICS, TENSORBOARD, WANDB}
BEFORE_THE_FIRST_CHECKPOINT = {HYDRA, CHECKPOINTS, INITIALIZATION, *LOGS}


def run_folder() -> Path:
    """The folder of this run, which ranks that a strategy launches are told by its name."""
    hydra_config: Any = HydraConfig.get()
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir
    return Path(hydra_config.run.dir)


def refuse_folders_of_ranks(config: DictConfig) -> None:
    """Raise `UserError` where ranks that Lightning does not start itself have no folder in common."""
    given = [override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.hydra]
    if "hydra.run.dir" not in given and (are_started_outside(os.environ) or config.trainer.get("num_nodes", 1) != 1):
        raise UserError(
            "hydra.run.dir: several ranks are started from outside, and each would make a folder of its own; give all "
            "of them the same one, such as hydra.run.dir=outputs/NAME"
        )


def discard_empty_run() -> None:
    """Remove the folder of a run that ended before its first checkpoint."""
    folder = Path(HydraConfig.get().runtime.output_dir).resolve()
    if folder == Path.cwd() or not folder.is_dir() or list(folder.rglob(Path(checkpoint("*")).name)):
        return
    if all(entry.name in BEFORE_THE_FIRST_CHECKPOINT or holds_logs(entry) for entry in folder.iterdir()):
        remove_folder(folder)


def holds_logs(entry: Path) -> bool:
    """Whether an entry is the folder of a step before the run's own training, with its logs alone."""
    return entry.is_dir() and {inner.name for inner in entry.iterdir()} <= LOGS
