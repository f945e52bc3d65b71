"""Several labels: what mean average precision is, which targets are refused, and a training by the module alone."""

import math
import warnings

import lightning
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import BernoulliKD, BinaryCrossEntropy, functional
from kd_lightning.tasks import MultiLabel

CPU = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def measured(logits: Tensor, target: Tensor) -> dict[str, float]:
    metrics = MultiLabel(logits.shape[1]).metrics("test")
    for some, of_these in zip(logits.split(9), target.split(9), strict=True):
        metrics.update(some, of_these)
    return {name: value.item() for name, value in metrics.compute().items()}


@pytest.mark.parametrize("scale", [1.0, 0.01, 20.0])
def test_mean_average_precision_is_that_of_scikit_learn(scale: float) -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(60, 5)) * scale, rng.integers(2, size=(60, 5))
    target[:, 4] = 0  # a class that no sample has is no part of the mean
    target[rng.random((60, 5)) < 0.2] = -1
    target[0] = -100
    each = [average_precision_score(target[target[:, c] >= 0, c], logits[target[:, c] >= 0, c]) for c in range(4)]
    found = measured(torch.tensor(logits).float(), torch.tensor(target))
    assert found["map"] == pytest.approx(np.mean(each), rel=1e-5)
    assert found["bce"] == pytest.approx(functional.bce(torch.tensor(logits), torch.tensor(target)).item(), rel=1e-5)


def test_a_network_that_diverged_is_the_worst() -> None:
    task, target = MultiLabel(2), torch.tensor([[1, 0], [0, 1], [1, 1]])
    logits = torch.full((3, 2), math.nan)
    found = measured(task.counted(logits, target, torch.ones(3, dtype=torch.bool)), target)
    assert found["bce"] == math.inf
    assert found["map"] < 1


def test_columns_say_their_direction() -> None:
    task = MultiLabel(3)
    task.check_columns()
    assert [column.name for column in task.columns if not column.higher_is_better] == ["bce"]
    assert task.selects_on.name == "map"
    with pytest.raises(UserError, match=r"^selects_on=top1: MultiLabel has no such column; choose one of map, bce$"):
        MultiLabel(selects_on="top1")


@pytest.mark.parametrize("wrong", [2.0, -2.0, math.nan])
def test_targets_that_are_no_labels_are_refused(wrong: float) -> None:
    with pytest.raises(UserError, match=r"^target=.*: each class is 0 or 1"):
        MultiLabel().check_batch({"target": torch.tensor([[0.0, wrong, 1.0]])})
    MultiLabel().check_batch({"target": torch.tensor([[0, -1, 1], [-100, 1, 0]])})


def test_class_indices_are_refused() -> None:
    with pytest.raises(UserError, match=r"^target=\(4,\): .* need 0 or 1 for each class, \(4, 3\)"):
        MultiLabel().check_step("student", torch.zeros(4, 3), torch.zeros(4), training=True)


def test_the_module_alone_distils_several_labels() -> None:
    lightning.seed_everything(0)
    warnings.simplefilter("ignore")
    inputs = torch.randn(256, 6)
    target = (inputs @ torch.randn(6, 4) > 0).long()
    loader = DataLoader(TensorDataset(inputs, target), batch_size=64)
    teacher, student = (nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)) for _ in range(2))
    module = DistillationModule(
        student=student,
        teacher=teacher,
        terms={
            "bce": Term(BinaryCrossEntropy(), ["student.logits", "target"], 0.5),
            "bernoulli_kd": Term(BernoulliKD(), ["student.logits", "teacher.logits"], 0.5),
        },
        task=MultiLabel(4),
    )
    trainer = lightning.Trainer(max_epochs=2, **CPU)
    trainer.fit(module, loader, loader)
    (results,) = trainer.test(module, loader, verbose=False)
    with torch.no_grad():
        logits, others = student(inputs), teacher(inputs)
    assert results["test/map"] == pytest.approx(average_precision_score(target, logits), rel=1e-5)
    assert results["test/agreement"] == pytest.approx(((logits > 0) == (others > 0)).float().mean().item())
    precision = module.tested["average_precision"]
    assert precision.mean().item() == pytest.approx(results["test/map"])
    (figure,) = MultiLabel(4).figures({"student": {"average_precision": precision.numpy()}}).values()
    assert len(figure["data"][0]["y"]) == 4
