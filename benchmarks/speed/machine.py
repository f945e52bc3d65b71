"""The machine that it is measured on."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from kd_lightning.system import cpu


def machine() -> dict[str, Any]:
    """In plain values, for the JSON file."""
    return {
        "cpu": cpu.name(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bf16_on_cpu": cpu.has_native_bfloat16(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("lightning"),
        "torchdistill": torchdistill_version(),
    }


def sentence(machine: dict[str, Any]) -> str:
    """In one line, for below the table."""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    bf16 = "" if machine["bf16_on_cpu"] else ", which multiplies no bf16"
    return (
        f"{machine['cpu']}{bf16}{gpu}; {machine['cores']} cores, {machine['threads']} threads; Python "
        f"{machine['python']}, torch {machine['torch']}, lightning {machine['lightning']}"
    )


def torchdistill_version() -> str | None:
    try:
        return version("torchdistill")
    except ImportError:
        return None
