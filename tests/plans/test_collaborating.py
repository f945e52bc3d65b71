"""Students that make one target together, or contrast what they see, as a user trains them, and on real images."""

import csv
import json
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.losses import KDCL, MCL, CrossEntropy, SoftTarget
from kd_lightning.losses.functional.peers.collaborative import COLLABORATIONS
from kd_lightning.models import create_model
from tests.conftest import Command
from tests.module.test_module import trainer

MODELS = "student.models=[digits_cnn_4,digits_cnn_4,digits_cnn_8]"
SMALL = (
    *(
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=3",
        "trainer.accelerator=cpu",
        "trainer.log_every_n_steps=1",
    ),
    *("callbacks.progress_bar=null", "scratch=false"),
)
CE = Term(CrossEntropy(), ["student.logits", "target"])
LOGITS = ["student.logits", "peers.logits", "target"]
METHODS: dict[str, Term] = {
    "dml": Term(SoftTarget(1.0), LOGITS[:2]),
    **{f"kdcl, {one}": Term(KDCL(one), LOGITS) for one in COLLABORATIONS},
    "mcl": Term(MCL(), ["student.pooled", "peers.pooled", "target"]),
}


def test_weights_that_a_validation_finds_are_kept(command: Command, tmp_path: Path) -> None:
    """With a frozen teacher among those who make the target."""
    done = command(
        "kd-train",
        "method=kdcl",
        "teacher=default",
        "teacher.model=digits_cnn_8",
        "teacher.weights=null",
        "loss.kdcl.signals=[student.logits,[peers.logits,teacher.logits],target]",
        "loss.kdcl.loss.collaboration=general",
        MODELS,
        *SMALL,
        "hydra.run.dir=run",
    )
    assert done.code == 0, done.errors
    record = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [*record["plan"]["networks"]] == ["teacher", "student_1", "student_2", "student_3"]
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for place in (1, 2, 3):
        weights = kept[f"objective.student_{place}.terms.kdcl.loss.weights"]
        assert weights.shape == (4,)
        assert weights.sum() == pytest.approx(1.0, abs=1e-4)
        assert (weights - 0.25).abs().max() > 0.01
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [float(row["train/student_3/kdcl"]) > 0 for row in rows if row["train/student_3/kdcl"]] == [True] * 3


@pytest.mark.parametrize("method", ["kdcl", "mcl"])
def test_one_student_has_no_peers(command: Command, method: str) -> None:
    done = command("kd-train", f"method={method}", *SMALL)
    assert done.code == 2
    assert [f"loss.{method}: takes peers." in line for line in done.error_lines] == [True]
    assert "give student.models" in done.errors


@pytest.fixture(scope="module")
def ten_classes(shared: Path) -> tuple[Tensor, Tensor]:
    """Sixty images of each of ten classes of CIFAR-100, and their classes."""
    with ZipFile(shared / "data" / "cifar100-train-0.zip") as zipped:
        by_class: dict[str, list[str]] = {}
        for name in sorted(zipped.namelist()):
            by_class.setdefault(name.partition("/")[0], []).append(name)
        names = [name for each in [*by_class.values()][:10] for name in each[:60]]
        pixels = [np.asarray(Image.open(BytesIO(zipped.read(name))).convert("RGB")) for name in names]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images, torch.arange(600) // 60


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_fifty_steps_on_real_images(tmp_path: Path, ten_classes: tuple[Tensor, Tensor], method: str) -> None:
    torch.manual_seed(0)
    networks = {name: create_model(name, num_classes=10) for name in ("resnet8", "resnet14")}
    module = DistillationModule(
        networks,
        terms={"ce": CE, "together": METHODS[method]},
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4),
        example_input=ten_classes[0][:2],
        num_classes=10,
    )
    data: Any = TensorDataset(*ten_classes)
    totals: list[float] = []
    module_step = module.training_step

    def step(batch: Any, batch_idx: int) -> Tensor:
        total = module_step(batch, batch_idx)
        totals.append(float(total.detach()))
        return total

    module.training_step = step  # type: ignore[method-assign]
    run = trainer(tmp_path, max_steps=50, max_epochs=-1, limit_val_batches=1)
    run.fit(module, DataLoader(data, batch_size=20, shuffle=True), DataLoader(data, batch_size=200))
    assert len(totals) == 50
    assert all(np.isfinite(totals))
    assert np.mean(totals[-5:]) < np.mean(totals[:5]), totals


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("method=kdcl", "loss.kdcl.loss.collaboration=general", "data.val_fraction=0"),
            "loss.kdcl.loss=KDCL: would follow the test set; set data.val_fraction above 0",
        ),
        (
            ("plan=mutual", "teacher=moving_average"),
            "teacher.of=null: name the learner to average; there are student_1",
        ),
        (("plan=mutual", "teacher=moving_average", "teacher.decay=1"), "teacher.decay=1: must be above 0 and below 1"),
    ],
)
def test_what_does_not_go_together_is_told_by_its_key(command: Command, arguments: tuple[str, ...], told: str) -> None:
    outcome = command("kd-train", *arguments, "student.models=[digits_cnn_4,digits_cnn_8]")
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith(f"error: {told}")
