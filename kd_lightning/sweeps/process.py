"""A job of several ranks as a process of its own.

Ranks are launched by repeating the command line; in a multirun each of them would begin the whole sweep anew.
"""

import os
import subprocess
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from kd_lightning.config.conf import as_typed
from kd_lightning.errors import UserError
from kd_lightning.experiment.folder.resume import finished
from kd_lightning.runs.files import LOG
from kd_lightning.runs.summary import Summary
from kd_lightning.runs.values import quoted

# Names the launchers' own processes to Lightning, which would take the job for one of them.
OF_THE_LAUNCHER = ("SLURM_NTASKS", "SLURM_JOB_NAME")


class ProcessError(Exception):
    """A job's own process has failed, for the reason that its output ends with."""


def number_of_ranks(config: DictConfig) -> int:
    """How many processes a config trains in; raises `UserError` for more than one node."""
    trainer = instantiate(config.trainer, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    if trainer.num_nodes > 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes}: a job of a sweep runs on one node; use 1")
    return int(trainer.world_size)


def run_in_own_process(config: DictConfig, folder: Path) -> Summary:
    """Run a job by the plain command line of a single run, its output behind log.txt; returns its summary.

    Raises `ProcessError` if it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_LAUNCHER}
    with (folder / LOG).open("a+") as log:
        before = log.seek(0, os.SEEK_END)
        result = subprocess.run(command_line(config, folder), stdout=log, stderr=log, env=environment, check=False)
        log.seek(before)
        lines = log.read().split("\n")
    summary = finished(folder)
    if result.returncode != 0 or summary is None:
        raise ProcessError(failure(lines) or f"exit code {result.returncode}")
    return summary


def command_line(config: DictConfig, folder: Path) -> list[str]:
    """What runs the current job by itself."""
    hydra = HydraConfig.get()
    own_configs = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    flags = [part for path in own_configs for part in ("--config-dir", path)]
    searched = [override for override in as_typed(hydra.overrides.hydra) if override.startswith("hydra.searchpath=")]
    return [
        *(sys.executable, "-m", "kd_lightning.commands.train", *flags),
        *(*searched, *as_typed(hydra.overrides.task)),
        "hydra.mode=RUN",
        f"hydra.run.dir={quoted(str(folder))}",
        f"test={str(config.test).lower()}",
        "++callbacks.progress_bar=null",
    ]


def failure(lines: list[str]) -> str:
    """The line of a failed command's output that tells why: its own error line, or the last one."""
    said = [line.strip() for line in lines if line.strip()]
    own = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return (own or said or [""])[-1]
