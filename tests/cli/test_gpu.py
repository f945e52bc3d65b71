"""kd-train and kd-eval on a GPU, as a user runs them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.additions.test_additions import measured_twice
from tests.conftest import SHORT, Command

pytestmark = pytest.mark.gpu

GPU = (*SHORT, "trainer.accelerator=gpu", "trainer.deterministic=true")
CRASH = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


VARIANTS = {
    "float32": (),
    "bf16": ("trainer.precision=bf16-mixed",),
    "float16": ("trainer.precision=16-mixed",),
    "cache": ("teacher.cache=logits",),
    "images on the host": ("data.resident=false",),
    "usual order in memory": ("channels_last=false",),
    "compiled": ("compile=true",),
    "graphs": ("compile=reduce-overhead", "data.drop_last=true"),
    "graphs, cache, bf16": (
        *("compile=reduce-overhead", "data.drop_last=true", "teacher.cache=logits", "trainer.precision=bf16-mixed"),
    ),
    "features": ("loss=[ce,kd,attention]",),
    "memory by index": ("method=crd",),
    "a stage of pretraining": ("method=ft",),
    "two teachers": ("teacher=ensemble", "teacher.models=[digits_cnn_8,digits_cnn_4]"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_trains_on_the_gpu_and_is_evaluated_again_with_equal_numbers(command: Command, name: str) -> None:
    own = [option for option in GPU if name != "two teachers" or not option.startswith("teacher.model=")]
    outcome = command("kd-train", *own, *VARIANTS[name], "trainer.max_epochs=20", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    result = summary(outcome.folder / "run")
    assert result["memory"]["peak_gpu_gib"] > 0
    assert result["student"]["top1"] > 0.15, "of ten digits"
    again = command("kd-eval", "run=run", "trainer.accelerator=gpu")
    assert again.code == 0, again.errors
    rows = measured_twice(again.output)
    assert rows
    for now, stored in rows:
        assert float(now.replace(",", "")) == pytest.approx(float(stored.replace(",", "")), abs=0.25), (
            "rounded to TF32, two of 899 images may change sides"
        )


@pytest.mark.parametrize("name", ["float32", "float16", "cache", "memory by index"])
def test_an_unfinished_run_is_taken_up_exactly(command: Command, name: str) -> None:
    options = (
        *GPU,
        *VARIANTS[name],
        "trainer.max_epochs=3",
        "student.model={_target_: tests.runs.test_resume.Forgetful}",
    )
    if name == "memory by index":
        options = (*GPU, *VARIANTS[name], "trainer.max_epochs=3")
    folder = command("kd-train", *options, "hydra.run.dir=whole").folder
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", CRASH)
    resumed = command("kd-train", *options, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    whole, cut = (load_file(folder / name / "student.safetensors") for name in ("whole", "cut"))
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=0, atol=0)


def test_a_run_on_the_gpu_ends_near_one_on_the_cpu(command: Command) -> None:
    numbers = []
    for accelerator in ("cpu", "gpu"):
        options = (*SHORT, f"trainer.accelerator={accelerator}", "trainer.max_epochs=6", f"hydra.run.dir={accelerator}")
        outcome = command("kd-train", *options)
        assert outcome.code == 0, outcome.errors
        numbers.append(summary(outcome.folder / accelerator)["student"]["nll"])
    assert np.isclose(numbers[0], numbers[1], rtol=0.1)


def test_a_sweep_trains_its_teacher_once(command: Command) -> None:
    outcome = command("kd-train", "-m", *GPU, "temperature=1,4", "alpha=0.5,0.9", "hydra.sweep.dir=sweep")
    assert outcome.code == 0, outcome.errors
    assert len([*(outcome.folder / "sweep").glob("*/summary.json")]) == 4
