"""What the processor can do, and how busy it is; told by the system, for torch says that it can do more."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

CPUINFO, LOADAVG = Path("/proc/cpuinfo"), Path("/proc/loadavg")
# Flags of x86 and of ARM, and the name that macOS has for the latter.
NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "hw.optional.arm.FEAT_BF16"}
SPIN = "GOMP_SPINCOUNT"  # turns of a waiting thread of OpenMP before it sleeps; 300,000 unless it is set
ON_A_BUSY_MACHINE = "2000"
WAITING_IS_CHOSEN = (SPIN, "OMP_WAIT_POLICY")
CONTENTION = 1.25  # threads that want to run for each core, from where on waiting threads are in the way of others


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by itself, and torch has it do so.

    Without such instructions torch converts to float32 and back, which is slower than float32 from the start.
    """
    import torch

    try:
        supported = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False
    flags = cpu_flags()
    if flags is not None:
        return supported and not flags.isdisjoint(NATIVE_BFLOAT16)
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return supported and any(ask() for ask in asked if ask is not None)


def cpu_flags() -> set[str] | None:
    """The features of the first processor, by the names that its system has for them; None where it tells none."""
    if sys.platform == "darwin":
        told = subprocess.run(["sysctl", "hw.optional"], capture_output=True, text=True, check=False).stdout
        return set(re.findall(r"^(hw\.optional\.[\w.]+): 1$", told, re.MULTILINE)) or None
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return set(found[1].split()) if found else None


def set_wait_policy() -> None:
    """Let OpenMP's waiting threads sleep soon where others want the cores; to be called before torch is imported.

    Threads that spin for long take the cores from those that work, which makes training twice as slow on a busy
    machine; on a quiet one those that sleep are woken late. What the user has set stays.
    """
    if not any(name in os.environ for name in WAITING_IS_CHOSEN) and is_busy():
        os.environ[SPIN] = ON_A_BUSY_MACHINE


def is_busy() -> bool:
    """Whether others take so much of the machine that this process's threads will wait for cores.

    So say both the load of the last minute, in which an earlier run of the user's own may have its part, and, where the
    system tells, what runs now.
    """
    try:
        others = [os.getloadavg()[0]]
    except (AttributeError, OSError):  # Windows, and where it is not told
        return False
    if (running := running_threads()) is not None:
        others.append(running - 1)  # this process is one of them
    own = os.environ.get("OMP_NUM_THREADS", "")
    cores, usable = os.cpu_count() or 1, usable_cores()
    threads = int(own) if own.isdecimal() else usable
    return min(others) / cores + threads / usable > CONTENTION


def running_threads() -> int | None:
    """How many threads of the whole machine run, or want to, at this moment; None where the system does not tell."""
    try:
        return int(LOADAVG.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return None


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def name() -> str:
    """What the processor is called."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
