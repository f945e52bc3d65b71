"""Several students on real images, and on two ranks."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Command
from tests.experiment.test_methods import falls
from tests.plans.digits_by_hand import ONE_BATCH
from tests.plans.test_two_ranks import TAPS
from tests.runs.run_process import finish

FIFTY = (
    "trainer.max_steps=50",
    "trainer.log_every_n_steps=1",
    "scratch=false",
    "callbacks.progress_bar=null",
    "trainer.limit_test_batches=1",
)
PLAIN = "{_target_: tests.plans.test_two_ranks.Plain, width: WIDTH}"


@pytest.mark.slow
def test_each_learns_real_images_as_it_would_alone(command: Command, cifar100: Path, tmp_path: Path) -> None:
    data = ("data=cifar100", "data._target_=benchmarks.ten_classes.TenClasses", "data.val_fraction=0.02")
    options = (
        *data,
        f"data.root={cifar100}",
        "data.download=false",
        *FIFTY,
        "teacher.model=resnet8",
        "teacher.weights=null",
    )
    options += ("loss=[ce,kd,attention]", "trainer.gradient_clip_val=1.0", "test=false", "data.batch_size=32")
    several = "student.models=[resnet8,{model: resnet8, optimizer: {lr: 0.02}}]"
    for run, given in (
        ("together", [several]),
        ("alone", ["student.model=resnet8", "student.optimizer.lr=0.02"]),
        ("mutual", [several, "plan=mutual"]),
    ):
        done = command("kd-train", *options, *given, f"hydra.run.dir={run}")
        assert done.code == 0, done.errors
    ours, theirs = (
        load_file(tmp_path / file) for file in ("together/student_2.safetensors", "alone/student.safetensors")
    )
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    rows = list(csv.DictReader((tmp_path / "mutual" / "metrics.csv").open()))
    for place in (1, 2):
        for term in ("loss", "ce"):
            values = [float(row[name]) for row in rows if row[name := f"train/student_{place}/{term}"]]
            assert len(values) == 50
            assert falls(values), values


@pytest.mark.slow
def test_on_two_ranks_students_end_where_one_process_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = ",".join(f"{{model: {PLAIN.replace('WIDTH', width)}, taps: {TAPS}}}" for width in ("3", "5"))
    given = [
        "plan=mutual",
        f"student.models=[{each}]",
        "student.model=null",
        f"teacher.model={PLAIN.replace('WIDTH', '4')}",
    ]
    given += [
        f"teacher.taps={TAPS}",
        "loss=[ce,kd]",
        "trainer.max_epochs=2",
        "trainer.gradient_clip_val=0.1",
        *ONE_BATCH,
    ]
    for ranks in (1, 2):
        monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / f"cache{ranks}"))
        trainer = "default" if ranks == 1 else "ddp"
        finish(tmp_path / str(ranks), *given, f"trainer={trainer}", f"data.batch_size={64 // ranks}")
    for place in (1, 2):
        one, two = (load_file(tmp_path / str(ranks) / f"student_{place}.safetensors") for ranks in (1, 2))
        torch.testing.assert_close(two, one)
