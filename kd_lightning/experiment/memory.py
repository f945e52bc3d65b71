"""How much memory a run took."""

import sys

import torch

from kd_lightning.callbacks.device_memory import GIB


def peak_memory() -> dict[str, float | None]:
    """The most memory this process took so far, in GiB: resident on the host, and of tensors on its GPU.

    None where the platform does not tell, or where there is no GPU.
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "peak_rss_gib": peak_resident(),
        "peak_gpu_gib": torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
    }


def peak_resident() -> float | None:
    try:
        import resource  # Windows has none
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
