"""environment.json: what a run ran on."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from kd_lightning.system import cpu

PACKAGES = ("kd-lightning", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "torchmetrics", "timm")


def environment() -> dict[str, Any]:
    """Versions, hardware, the command line and the git revision of the current folder."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": {"name": cpu.name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git": git_state(),
    }


def git_state() -> dict[str, Any]:
    """The revision of the current folder, and whether anything is changed beside it; null where there is none."""
    changes = _git("status", "--porcelain")
    return {"revision": _git("rev-parse", "HEAD"), "changed": None if changes is None else bool(changes)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
