"""How much memory a run took."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

GIB = 2**30

PROCESS = Path("/proc/self")  # what Linux tells of this process


def forget_peaks() -> None:
    """Count both peaks from now on; nothing happens to the host's where the platform has no means for it."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)


def peak_memory() -> dict[str, float | None]:
    """The most memory this process took since `forget_peaks`, in GiB: resident on the host, and of tensors on its GPU.

    None where the platform does not tell, or where there is no GPU. Outside Linux the host's covers the process's whole
    life, and with it the earlier jobs of a sweep.
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "peak_rss_gib": peak_resident(),
        "peak_gpu_gib": torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
    }


def peak_resident() -> float | None:
    told = PROCESS / "status"
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", told.read_text(), re.MULTILINE) if told.exists() else None
    if peak is not None:
        return int(peak[1]) * 1024 / GIB
    try:
        import resource  # Windows has none
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
