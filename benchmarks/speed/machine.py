"""The machine that it is measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """In plain values, for the JSON file."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bf16_on_cpu": multiplies_bf16_on_cpu(),
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


def cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def multiplies_bf16_on_cpu() -> bool:
    """Whether oneDNN has bf16 convolutions for this CPU; PyTorch's own are dozens of times slower than float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def torchdistill_version() -> str | None:
    try:
        return version("torchdistill")
    except ImportError:
        return None
