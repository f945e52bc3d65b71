"""What the processor can do is read from its flags, and how OpenMP's threads wait is chosen by the load."""

import os
import sys
from pathlib import Path

import pytest
import torch

from kd_lightning.system import cpu
from tests.conftest import Command

SHORT = (
    "teacher=none",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.accelerator=cpu",
    "test=false",
)
X86 = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu sse2 avx2 avx512f avx512bw {0}\nbogomips\t: 4000.00\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd atomics sve {0}\nCPU implementer\t: 0x41\n"
PROCESSORS = {
    "AVX-512 alone": (X86.format("avx512_vnni avx512_vbmi"), False),
    "AVX-512 with bfloat16": (X86.format("avx512_vnni avx512_bf16"), True),
    "AMX": (X86.format("amx_tile amx_int8 amx_bf16"), True),
    "AMX without bfloat16": (X86.format("amx_tile amx_int8"), False),
    "two that differ in text alone": (X86.format("") + X86.format("avx512_bf16"), False),
    "Neoverse V1": (ARM.format("bf16 i8mm"), True),
    "Neoverse N1": (ARM.format("dcpop"), False),
}


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Linux whose torch supports bfloat16, with files of its own about processors and load."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu, "LOADAVG", tmp_path / "loadavg")
    return tmp_path


@pytest.mark.parametrize("name", PROCESSORS)
def test_bfloat16_is_read_from_the_flags(name: str, linux: Path) -> None:
    told, native = PROCESSORS[name]
    (linux / "cpuinfo").write_text(told)
    assert cpu.has_native_bfloat16() == native


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="the other device is taken")
def test_a_run_warns_where_the_cpu_has_no_bfloat16(linux: Path, command: Command) -> None:
    options = (*SHORT, "trainer.precision=bf16-mixed", "hydra.run.dir=run")
    (linux / "cpuinfo").write_text(PROCESSORS["AVX-512 alone"][0])
    warned = command("kd-train", *options)
    assert warned.code == 0, warned.errors
    lines = [line for line in warned.errors.splitlines() if "bfloat16" in line]
    assert lines == [
        "warning: trainer.precision=bf16-mixed: this CPU does not multiply bfloat16 by itself; 32-true is faster here"
    ]
    (linux / "cpuinfo").write_text(PROCESSORS["AMX"][0])
    assert "bfloat16" not in command("kd-train", *options).errors


def test_a_system_that_tells_no_flags_is_asked_through_torch(linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert cpu.cpu_flags() is None
    assert not cpu.has_native_bfloat16()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert cpu.has_native_bfloat16()


def test_the_flags_of_this_machine_are_read() -> None:
    assert cpu.name()
    flags = cpu.cpu_flags()
    assert flags is None or len(flags) > 3


@pytest.mark.parametrize(
    ("load", "running", "threads", "busy"),
    [
        (0.1, 1, None, False),
        (0.1, 3, None, False),
        (1.9, 1, None, False),  # an earlier run of one's own, which has ended
        (1.9, 3, None, True),
        (8.0, 11, None, True),
        (0.9, 2, "1", False),  # a core is left
        (1.9, 3, "1", True),
        (1.9, None, None, True),  # not Linux
    ],
)
def test_waiting_threads_sleep_soon_on_a_busy_machine_alone(
    load: float, running: int | None, threads: str | None, busy: bool, linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load), raising=False)
    for name in (*cpu.WAITING_IS_CHOSEN, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    if running is not None:
        (linux / "loadavg").write_text(f"{load} {load} {load} {running}/159 25407\n")
    cpu.set_wait_policy()
    assert os.environ.get(cpu.SPIN) == ("2000" if busy else None)
    monkeypatch.setenv(cpu.SPIN, "5")
    cpu.set_wait_policy()
    assert os.environ[cpu.SPIN] == "5", "what the user has set stays"


def test_a_wait_policy_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "is_busy", lambda: True)
    monkeypatch.delenv(cpu.SPIN, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    cpu.set_wait_policy()
    assert cpu.SPIN not in os.environ


def test_a_system_without_a_load_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert not cpu.is_busy()
