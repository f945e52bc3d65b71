"""The folder of a run: found, looked at, removed where nothing was made."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

from kd_lightning.errors import UserError

RECORD_OF_A_SWEEP = "multirun.yaml"  # which Hydra writes beside the jobs
STATUS_OF_A_JOB = "status.json"
BEFORE_THE_FIRST_CHECKPOINT = {
    *(".hydra", "checkpoints", "initialization", "metrics.csv", "scratch", "teacher", "tensorboard", "wandb")
}


def run_folder() -> Path:
    """The folder of this run, which ranks that a strategy launches are told by its name."""
    hydra_config: Any = HydraConfig.get()
    with read_write(hydra_config):
        hydra_config.run.dir = hydra_config.runtime.output_dir
    return Path(hydra_config.run.dir)


def goes_on(folder: Path) -> str:
    """How the run in a folder is taken up again."""
    return f"the same command with hydra.run.dir={shlex.quote(str(folder))} goes on"


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that is complete, or None."""
    summary = folder / "summary.json"
    return json.loads(summary.read_text()) if summary.exists() else None


def checkpoint_name(wanted: str | None, folder: Path) -> str:
    """The checkpoint asked for, which must be there; for None the one that the run's own table shows."""
    if wanted not in (None, "best", "last"):
        raise UserError(f"checkpoint={wanted}: must be best, last or null")
    summary = finished(folder)
    name = wanted or (summary["data"]["selected_checkpoint"] if summary else "last")
    if not (folder / "checkpoints" / f"{name}.ckpt").exists():
        raise UserError(f"run={folder}: has no checkpoints/{name}.ckpt; let kd-train finish in this folder first")
    return name


def sweep_of(folder: Path) -> Path | None:
    """The folder of the sweep that the run in `folder` is a job of, however deep below it; None for any other run."""
    if not (folder / STATUS_OF_A_JOB).exists():
        return None
    return next((above for above in folder.resolve().parents if (above / RECORD_OF_A_SWEEP).exists()), None)


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
