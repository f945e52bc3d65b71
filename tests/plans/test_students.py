"""Several students in one training: each ends as it would alone, and has its own row, weights, curve and checkpoint."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Command

SMALL = (
    *(
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=4",
        "trainer.accelerator=cpu",
        "trainer.log_every_n_steps=1",
    ),
    *("callbacks.progress_bar=null", "scratch=false"),
)
TEACHER = "teacher.model=digits_cnn_8"
STUDENTS = (
    {"model": "digits_cnn_4", "taps": "{hint: layer3}"},
    {"model": "{_target_: droppy.Droppy}", "taps": "{hint: '2'}", "optimizer": "{lr: 0.02}"},
)
MODELS = ",".join("{" + ",".join(f"{key}: {value}" for key, value in one.items()) + "}" for one in STUDENTS)
DROPPY = """
from torch import nn


class Droppy(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(24, num_classes)
        )
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    (tmp_path / "droppy.py").write_text(DROPPY)
    monkeypatch.syspath_prepend(tmp_path)


def summary(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text())


def curves(run: Path) -> dict[str, list[str]]:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return {name: [row[name] for row in rows if row[name]] for name in rows[0]}


@pytest.mark.parametrize(
    "options",
    [
        ("loss=[ce,kd,fitnet]", "loss.fitnet.signals=[student.hint,teacher.stage3]", "trainer.gradient_clip_val=0.5"),
    ],
)
def test_each_ends_number_for_number_as_if_it_were_trained_alone(
    command: Command, tmp_path: Path, options: tuple[str, ...]
) -> None:
    together = command("kd-train", *SMALL, TEACHER, *options, f"student.models=[{MODELS}]", "hydra.run.dir=together")
    assert together.code == 0, together.errors
    shown, record = curves(tmp_path / "together"), summary(tmp_path / "together")
    for place, own in enumerate(STUDENTS, start=1):
        given = [f"student.{key}={value}" for key, value in own.items()]
        alone = command("kd-train", *SMALL, TEACHER, *options, *given, f"hydra.run.dir=alone{place}")
        assert alone.code == 0, alone.errors
        theirs = load_file(tmp_path / f"alone{place}" / "student.safetensors")
        ours = load_file(tmp_path / "together" / f"student_{place}.safetensors")
        assert [*ours] == [*theirs]
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
        own_curves, own_record = curves(tmp_path / f"alone{place}"), summary(tmp_path / f"alone{place}")
        for name in ("val/top1", "val/nll", "train/loss", "train/fitnet"):
            stage, _, metric = name.partition("/")
            assert shown[f"{stage}/student_{place}/{metric}"] == own_curves[name], name
        one, other = record[f"student_{place}"], own_record["student"]
        assert {name for name in other if one[name] != other[name]} <= {"latency_ms", "latency_iqr_ms"}
        best = torch.load(tmp_path / "together" / "checkpoints" / f"best_student_{place}.ckpt", weights_only=True)
        theirs = torch.load(tmp_path / f"alone{place}" / "checkpoints" / "best.ckpt", weights_only=True)
        assert best["epoch"] == theirs["epoch"]
    assert record["plan"]["result"] == "student_1"


PAIR = "student.models=[digits_cnn_4,digits_cnn_4]"


def test_students_that_teach_each_other_begin_apart(command: Command, tmp_path: Path) -> None:
    done = command("kd-train", "method=dml", PAIR, *SMALL, "scratch=true", "hydra.run.dir=run")
    assert done.code == 0, done.errors
    print(done.output)
    record = summary(tmp_path / "run")
    assert [*record["plan"]["networks"]] == ["scratch_1", "scratch_2", "student_1", "student_2"]
    assert record["plan"]["baseline"] == "scratch_1"
    assert {name: term["weight"] for name, term in record["objective"].items()} == {
        f"student_{place}.{term}": 1.0 for place in (1, 2) for term in ("ce", "mutual")
    }
    one, other = (load_file(tmp_path / "run" / f"student_{place}.safetensors") for place in (1, 2))
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    assert record["scratch_1"]["nll"] != record["scratch_2"]["nll"]
    tested = command("kd-eval", "run=run")
    assert tested.code == 0, tested.errors
    print(tested.output)
    for place in (1, 2):
        exported = command("kd-export", f"run=run/student_{place}.safetensors", "format=torch", f"output=e{place}")
        print(exported.output, exported.errors)
    assert command("kd-report", "run").code == 0
