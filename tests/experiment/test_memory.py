"""How much memory a run says that it took."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from kd_lightning.callbacks import DeviceMemory
from kd_lightning.module import DistillationModule
from kd_lightning.tracking import memory
from tests.conftest import Command

RUN = ("teacher=none", "trainer.max_epochs=1", "callbacks.progress_bar=null")


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be forgotten here")
def test_a_run_does_not_count_what_its_process_took_before(command: Command) -> None:
    """As the jobs of a sweep, which run in one process."""
    bytearray(2**30)  # taken, and given back at once
    before = memory.peak_memory()["peak_rss_gib"]
    run = command("kd-train", *RUN).run
    peak = json.loads((run / "summary.json").read_text())["memory"]["peak_rss_gib"]
    assert before is not None
    assert 0.1 < peak < before - 0.3


@pytest.mark.skipif(sys.platform == "win32", reason="tells no peak")
def test_where_no_peak_can_be_forgotten_it_is_of_the_whole_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "not mounted")
    memory.forget_peaks()
    peak = memory.peak_memory()["peak_rss_gib"]
    assert peak is not None
    assert peak > 0.1


def test_the_peaks_of_all_gpus_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", forgotten.append)
    memory.forget_peaks()
    assert forgotten == [0, 1]


def test_a_training_keeps_the_peak_of_the_training_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", forgotten.append)
    module = DistillationModule(torch.nn.Linear(1, 1))
    module._device = torch.device("cuda")
    DeviceMemory().on_fit_start(Trainer(logger=False), module)
    assert not forgotten
