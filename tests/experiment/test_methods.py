"""Every published method on a small pair, as a user runs it: its total falls, gradients reach all, it resumes."""

import csv
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from kd_lightning.config.conf import conf_dir, options
from kd_lightning.data import ImageDataModule
from kd_lightning.experiment.checks.config import check
from kd_lightning.learners.objectives import total_of
from kd_lightning.module import DistillationModule
from kd_lightning.schedules.progress import Progress
from kd_lightning.training import kept
from kd_lightning.training.ranks.unreached import without_unreached
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.experiment.steps import trainings

METHODS = [name for name in options("method") if "/" not in name]  # those for ImageNet have the same terms
TWO_PHASES = [name for name in METHODS if "\ninitialization:" in (conf_dir() / f"method/{name}.yaml").read_text()]
TEACHERLESS = [name for name in METHODS if "/teacher: none" in (conf_dir() / f"method/{name}.yaml").read_text()]
# What a checkpoint must hold, or the data must give again.
REMEMBERING = (
    *("byot", "ca_mkd", "catkd", "crd", "cs_kd", "ctkd", "ft", "mcl", "ps_kd", "reviewkd", "simkd", "tekap", "uskd"),
    "vid",
)
TINY_DEIT = (
    "{_target_: timm.models.deit.VisionTransformerDistilled, img_size: 8, patch_size: 4, in_chans: 1, num_classes: 10,"
    " embed_dim: 16, depth: 4, num_heads: 2}"
)
STUDENTS = {"deit": TINY_DEIT, "fsp": "resnet8"}  # a distillation token; a stem, and the teacher's widths
TEACHERS = {"fsp": "resnet14"}
SEVERAL = {  # students that teach each other, without a teacher
    "dml": "[digits_cnn_4,digits_cnn_4]",
    "kdcl": "[digits_cnn_4,digits_cnn_8]",
    "mcl": "[digits_cnn_4,digits_cnn_8]",
}
OF_ENSEMBLES = [
    name for name in METHODS if "override /teacher: ensemble" in (conf_dir() / f"method/{name}.yaml").read_text()
]
SHORT = ("callbacks.progress_bar=null", "trainer.log_every_n_steps=1", "scratch=false", "test=false")


ONE_OF_A_KIND = ("ab", "attention", "crd", "ctkd", "deit", "kd", "mcl", "mlkd", "ps_kd", "rkd", "simkd")


def one_of_a_kind(methods: list[str]) -> list[Any]:
    """All methods, of which all but one of a kind train in `make test-long` alone."""
    return [name if name in ONE_OF_A_KIND else pytest.param(name, marks=pytest.mark.slow) for name in methods]


def teacher_of(method: str) -> list[str]:
    if method in OF_ENSEMBLES:
        return ["teacher.models=[digits_cnn_8,digits_cnn_4]"]
    return [] if method in TEACHERLESS else [f"teacher.model={TEACHERS.get(method, 'digits_cnn_8')}"]


def small_pair(method: str) -> list[str]:
    """The overrides that choose a method on the digits, with a small student and teacher."""
    if method in SEVERAL:
        return [f"method={method}", f"student.models={SEVERAL[method]}"]
    return [
        f"method={method}",
        f"student.model={STUDENTS.get(method, 'digits_cnn_4')}",
        *teacher_of(method),
        *(["initialization.epochs=4"] if method in TWO_PHASES else []),
        *(["loss.crd.loss.negatives=512"] if method == "crd" else []),  # of 449 images
    ]


@functools.cache
def small_config(method: str) -> DictConfig:
    return composed(*small_pair(method))


def modules(method: str) -> Iterator[tuple[DistillationModule, ImageDataModule]]:
    """The module of a method's training, in front of it that of its first phase, each as it is trained."""
    config = small_config(method)
    experiment = check(config)
    data = experiment.data
    data.prepare_data()
    found = trainings(experiment)
    training, module = found["students" if method in SEVERAL else "student"]
    yield module, kept.data_of(training)
    if config.initialization:
        first = found["initialization"][1]
        with without_unreached(first, data.example()):
            yield first, data


def first_batch(data: ImageDataModule) -> Any:
    """What a step learns from first; of a training beside a quiz what is taught."""
    loader = data.train_dataloader()
    return next(iter(loader["taught"] if isinstance(loader, dict) else loader))


def totals(metrics: Path) -> list[float]:
    """The objective in each step, with the weights that the terms have in the last one."""
    rows = [row for row in csv.DictReader(metrics.open()) if row.get("train/loss")]
    terms = [name for name in rows[-1] if f"{name}_weighted" in rows[-1]]
    weights = {name: float(rows[-1][f"{name}_weighted"]) / float(rows[-1][name]) for name in terms}
    return [sum(weight * float(row[name]) for name, weight in weights.items()) for row in rows]


def falls(values: list[float]) -> bool:
    return sum(values[-5:]) < sum(values[:5])


@pytest.mark.parametrize("method", one_of_a_kind(METHODS))
def test_fifty_steps(method: str, command: Command) -> None:
    outcome = command(
        "kd-train", *small_pair(method), *SHORT, "trainer.max_steps=50", "trainer.check_val_every_n_epoch=4"
    )
    assert outcome.code == 0, outcome.errors
    run, config = outcome.run, small_config(method)
    values = totals(run / "metrics.csv")
    assert len(values) == 50
    assert falls(values), values
    assert (run / "initialization").exists() == (method in TWO_PHASES)
    if method in TWO_PHASES:
        assert falls(totals(run / "initialization" / "metrics.csv"))
    terms = {term.rpartition(".")[2] for term in json.loads((run / "summary.json").read_text())["objective"]}
    assert terms == {*config.loss, *(["mutual"] if method == "dml" else [])}
    module, _ = next(modules(method))
    module.load_state_dict(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"], strict=True)


@pytest.mark.parametrize("method", METHODS)
def test_all_that_is_trained_gets_gradients(method: str) -> None:
    for module, data in modules(method):
        module.train()
        batch = data.on_after_batch_transfer(first_batch(data))
        module.zero_grad()
        total_of(module.losses((module.signals(batch), {}), Progress(epoch=1.0, fraction=0.1))).backward()
        trained = nn.ModuleDict({"student": module.student, "objective": module.objective}).named_parameters()
        gradients = {name: parameter.grad for name, parameter in trained if parameter.requires_grad}
        assert gradients
        assert [name for name, gradient in gradients.items() if gradient is None] == []
        assert all(gradient.isfinite().all() for gradient in gradients.values() if gradient is not None)


@pytest.mark.parametrize("method", one_of_a_kind([*REMEMBERING]))
def test_an_interrupted_run_ends_as_an_uninterrupted_one(method: str, command: Command) -> None:
    short = (*SHORT, "trainer.max_epochs=2", "data.train_samples=192")
    options = (*small_pair(method), *short, *([] if method in TEACHERLESS else ["teacher.weights=null"]))
    folder = command("kd-train", *options, "hydra.run.dir=whole").folder
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", crash)
    assert command("kd-train", *options, "hydra.run.dir=cut").code == 0
    whole, cut = (
        torch.load(folder / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    assert any(name.startswith("objective.") for name in whole) or method in ("catkd", "cs_kd", "simkd", "tekap")
    assert [name for name, value in whole.items() if not torch.equal(cut[name], value)] == []
