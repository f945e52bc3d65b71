"""Networks that teach themselves by another image, or by their deepest classifier: whole runs, two processes, CIFAR."""

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.ten_classes import TenClasses
from kd_lightning import DistillationModule, Term
from kd_lightning.config.parts.objects import terms_from
from kd_lightning.data import DigitsDataModule
from kd_lightning.losses import BYOT, CSKD, DDGSD, CrossEntropy, MeanDiscrepancy
from kd_lightning.models import create_model
from kd_lightning.objective import names_in
from kd_lightning.signals import views_in
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.module.minimised import Losses

SHORT = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "student.model=digits_cnn_4")


def test_heads_are_dropped_and_the_student_is_compared_with_itself_alone(command: Command) -> None:
    outcome = command("kd-train", "method=byot", *SHORT)
    assert outcome.code == 0, outcome.errors
    run = outcome.run
    summary = json.loads((run / "summary.json").read_text())
    assert summary["teacher"] is None
    assert summary["scratch"]["params"] == summary["student"]["params"]
    assert summary["scratch"]["flops"] == summary["student"]["flops"]
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert any(name.startswith("objective.terms.byot.loss.heads.") for name in state), "they are trained"
    kept = load_file(run / "student.safetensors")
    assert {f"student.{name}" for name in kept} == {name for name in state if name.startswith("student.")}
    assert not any("heads" in name for name in kept)
    evaluated = command("kd-eval", f"run={run}")
    assert evaluated.code == 0, evaluated.errors


TERMS = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"]),
    "cs_kd": Term(CSKD(), ["student.logits", "student@same_class.logits.detached", "target"]),
    "ddgsd": Term(DDGSD(), ["student.logits", "student@second.logits"]),
    "mmd": Term(MeanDiscrepancy(gather=True), ["student.pooled", "student@second.pooled"]),
    "byot": Term(
        BYOT(beta=0.01),
        [["student.early", "student.late"], "student.pooled.detached", "student.logits.detached", "target"],
    ),
}
QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
QUIET |= {"enable_model_summary": False}
TAPS = {"early": "1", "late": "3", "pooled": "5:input"}


class Rows(nn.Module):
    """Images as rows of float64."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double()


def trained(folder: Path, devices: int) -> dict[str, torch.Tensor]:
    """The state after two epochs, of batches of 64 images in all."""
    torch.manual_seed(0)
    layers = nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10)
    net = nn.Sequential(Rows(), *layers).double()
    data = DigitsDataModule(batch_size=64 // devices, seed=3, drop_last=True).with_views(["second", "same_class"])
    module = DistillationModule(
        net,
        terms=TERMS,
        optimizer=partial(torch.optim.SGD, lr=0.02),
        student_taps=TAPS,
        example_input=torch.rand(2, 1, 8, 8, dtype=torch.float64),
        num_classes=10,
    ).double()
    options: dict[str, Any] = {"devices": devices, "strategy": "ddp_spawn" if devices > 1 else "auto"}
    options |= {"accelerator": "cpu", "precision": "64-true", "max_epochs": 2, "limit_val_batches": 0}
    trainer = lightning.Trainer(default_root_dir=folder, use_distributed_sampler=False, **options, **QUIET)
    trainer.fit(module, data)
    return copy.deepcopy(module.state_dict())


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Partners and views are the same, and so is the mean over the images of all."""
    one, two = trained(tmp_path, 1), trained(tmp_path, 2)
    assert any("heads" in name for name in one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.slow
def test_fifty_steps_on_ten_classes_of_cifar100(cifar100: Path) -> None:
    data = TenClasses(root=cifar100, download=False, val_fraction=0, batch_size=32)
    data.setup()
    for method in ("byot", "cs_kd", "ddgsd"):
        torch.manual_seed(0)
        terms = terms_from(composed(f"method={method}").loss)()
        views = views_in(names_in(terms))
        assert views == {"byot": set(), "cs_kd": {"same_class"}, "ddgsd": {"second"}}[method]
        network, sgd = create_model("resnet8", num_classes=10), partial(torch.optim.SGD, lr=0.05)
        module = DistillationModule(network, terms=terms, optimizer=sgd, example_input=data.example(), num_classes=10)
        losses = Losses()
        trainer = lightning.Trainer(accelerator="cpu", max_steps=50, limit_val_batches=0, callbacks=[losses], **QUIET)
        trainer.fit(module, data.with_views(views))
        assert len(losses.found) == 50
        assert sum(losses.found[-10:]) < sum(losses.found[:10]), method
