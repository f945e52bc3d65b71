"""Every published method on a small pair, as a user runs it: it trains, all that it trains gets gradients, it resumes."""

import csv
import json
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from kd_lightning.config import options
from kd_lightning.experiment.build import build_module, build_network, example_input, module_around
from kd_lightning.experiment.check import check
from kd_lightning.experiment.initialization import as_training, freeze_unreached
from kd_lightning.module import DistillationModule
from kd_lightning.schedules import Progress
from tests.conftest import Command
from tests.test_configs import composed

METHODS = options("method")
TINY_DEIT = (
    "{_target_: timm.models.deit.VisionTransformerDistilled, img_size: 8, patch_size: 4, in_chans: 1, num_classes: 10,"
    " embed_dim: 16, depth: 4, num_heads: 2}"
)
STUDENTS = {"fsp": "resnet8", "deit": TINY_DEIT}  # FSP takes a stem and equal widths, DeiT a distillation token
TEACHERS = {"fsp": "resnet14"}
SHORT = ("callbacks.progress_bar=null", "trainer.log_every_n_steps=1", "scratch=false")


def pair(method: str) -> list[str]:
    """The overrides that choose a method and a small pair for it."""
    student, teacher = STUDENTS.get(method, "digits_cnn_4"), TEACHERS.get(method, "digits_cnn_8")
    begins = composed(f"method={method}").initialization is not None
    return [
        f"method={method}",
        f"student.model={student}",
        f"teacher.model={teacher}",
        *(["initialization.epochs=1"] if begins else []),
    ]


def build(config: DictConfig) -> tuple[DistillationModule, nn.Module]:
    """The module that a config describes, and its teacher."""
    data = check(config)
    data.prepare_data()
    teacher = build_network("teacher", config.teacher, data)
    return build_module(config, data, teacher), teacher


def totals(metrics: Path) -> list[float]:
    """The objective of each step, as the last step weighs its terms."""
    rows = [row for row in csv.DictReader(metrics.open()) if row.get("train/loss")]
    terms = [name for name in rows[-1] if f"{name}_weighted" in rows[-1]]
    weights = {name: float(rows[-1][f"{name}_weighted"]) / float(rows[-1][name]) for name in terms}
    return [sum(weight * float(row[name]) for name, weight in weights.items()) for row in rows]


def falls(values: list[float]) -> bool:
    return sum(values[-5:]) < sum(values[:5])


@pytest.mark.parametrize("method", METHODS)
def test_fifty_steps(method: str, command: Command) -> None:
    outcome = command("kd-train", *pair(method), *SHORT, "trainer.max_steps=50")
    assert outcome.code == 0, outcome.errors
    values = totals(outcome.run / "metrics.csv")
    assert len(values) == 50
    assert falls(values), values
    first_phase = outcome.run / "initialization" / "metrics.csv"
    assert not first_phase.exists() or falls(totals(first_phase))
    record = json.loads((outcome.run / "summary.json").read_text())
    assert set(record["objective"]) == set(composed(f"method={method}").loss)
    stored = torch.load(outcome.run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    module, _ = build(composed(*pair(method)))
    module.load_state_dict(stored, strict=True)


@pytest.mark.parametrize("method", METHODS)
def test_all_that_is_trained_gets_gradients(method: str) -> None:
    config = composed(*pair(method))
    module, teacher = build(config)
    data = check(config)
    data.prepare_data()
    data.setup()
    modules = [module]
    if config.initialization:
        first = module_around(module.student, as_training(config), data, teacher, config.initialization.loss)
        freeze_unreached(first, example_input(data))
        modules.insert(0, first)
    for one in modules:
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        one.train()
        one.objective(one.signals(batch), Progress(epoch=1.0, fraction=0.1)).total.backward()
        trained = {n: p for part in (one.student, one.objective) for n, p in part.named_parameters() if p.requires_grad}
        print(method, {n for n, p in trained.items() if p.grad is None})
        for p in module.student.parameters():
            p.requires_grad_(True)
