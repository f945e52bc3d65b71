"""Regression: what its metrics are, which targets it refuses, and a training by DistillationModule alone."""

import math
import warnings
from functools import partial

import lightning
import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import MeanSquaredError, RegressionKD
from kd_lightning.tasks import Regression

CPU = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def measured(task: Regression, outputs: Tensor, target: Tensor, size: int = 7) -> dict[str, float]:
    metrics = task.metrics("test")
    for some, of_these in zip(outputs.split(size), target.split(size), strict=True):
        metrics.update(*task.labelled(some, of_these))
    return {name: value.item() for name, value in metrics.compute().items()}


@pytest.mark.parametrize(("scale", "middle"), [(1.0, 0.0), (1e-4, 0.0), (10.0, 2e4), (1e6, -1e6)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_are_those_of_scikit_learn(scale: float, middle: float, outputs: int) -> None:
    rng = np.random.default_rng(0)
    true = (middle + scale * rng.normal(size=(40, outputs)) * np.arange(1, outputs + 1)).astype(np.float32)
    guess = (true + scale * rng.normal(size=true.shape)).astype(np.float32)
    found = measured(Regression(outputs), torch.from_numpy(guess), torch.from_numpy(true))
    precise = true.astype(float), guess.astype(float)
    assert found["mse"] == pytest.approx(mean_squared_error(*precise), rel=1e-4)
    assert found["mae"] == pytest.approx(mean_absolute_error(*precise), rel=1e-4)
    assert found["r2"] == pytest.approx(r2_score(*precise), rel=1e-3, abs=1e-3)


def test_a_target_that_never_changes_is_met_or_not() -> None:
    target = torch.full((4, 1), 2.0)
    assert measured(Regression(1), target, target)["r2"] == 1.0
    assert measured(Regression(1), target + 1e-3, target)["r2"] == 0.0
    assert measured(Regression(1), target[:1], target[:1])["r2"] == 1.0


def test_a_network_that_diverged_is_the_worst() -> None:
    task = Regression(1)
    outputs, target = torch.tensor([[1.0], [math.nan]]), torch.tensor([[1.0], [2.0]])
    found = measured(task, task.counted(outputs, target, torch.tensor([False, True])), target)
    assert (found["mse"], found["mae"], found["r2"]) == (math.inf, math.inf, -math.inf)


def test_columns_say_their_direction() -> None:
    task = Regression()
    task.check_columns()
    assert {column.name: column.higher_is_better for column in task.columns} == {
        "mse": False,
        "mae": False,
        "r2": True,
        "agreement": False,
    }
    assert task.selects_on.name == "mse"
    assert Regression(selects_on="r2").selects_on.mode == "max"


@pytest.mark.parametrize(
    ("outputs", "target", "message"),
    [
        ((4, 2), torch.zeros(4), r"target=\(4,\): target of shape \(4,\): outputs \(4, 2\) need a number for each"),
        ((4, 1), torch.zeros(4, 2), r"target=\(4, 2\): .*or \(B,\) of one output"),
        ((4,), torch.zeros(4), r"student\.logits=\(4,\): a regression has outputs \(B, K\)"),
        ((4, 3, 2), torch.zeros(4, 3, 2), r"student\.logits=\(4, 3, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_one_line(outputs: tuple[int, ...], target: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Regression().check_step("student", torch.zeros(outputs), target, training=True)


@pytest.mark.parametrize("target", [torch.tensor([1.0, math.nan]), torch.tensor([math.inf, 0.0]), torch.ones(2).bool()])
def test_targets_that_are_no_finite_numbers_are_refused(target: Tensor) -> None:
    with pytest.raises(UserError, match=r"^target=\w+.*: a regression learns finite numbers"):
        Regression().check_batch({"target": target})
    Regression().check_batch({"target": torch.tensor([1, 2])})
    Regression().check_batch({})


def diabetes() -> tuple[DataLoader, DataLoader]:
    inputs, target = load_diabetes(return_X_y=True)
    table = TensorDataset(torch.tensor(20 * inputs).float(), torch.tensor((target - 150) / 80).float())
    return DataLoader(table, batch_size=64, shuffle=True), DataLoader(table, batch_size=442)


def test_the_module_alone_distils_a_regression() -> None:
    lightning.seed_everything(0)
    train, test = diabetes()
    teacher = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))
    student = nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = partial(torch.optim.Adam, lr=0.01)
    warnings.simplefilter("ignore")
    lightning.Trainer(max_epochs=3, **CPU).fit(
        DistillationModule(teacher, task=Regression(1), optimizer=optimizer), train
    )
    module = DistillationModule(
        student=student,
        teacher=teacher,
        terms={
            "mse": Term(MeanSquaredError(), ["student.logits", "target"], 0.5),
            "regression_kd": Term(RegressionKD(), ["student.logits", "teacher.logits"], 0.5),
        },
        optimizer=optimizer,
        task=Regression(1),
    )
    trainer = lightning.Trainer(max_epochs=3, **CPU)
    trainer.fit(module, train, test)
    (results,) = trainer.test(module, test, verbose=False)
    inputs, target = next(iter(test))
    with torch.no_grad():
        outputs, others = student(inputs)[:, 0], teacher(inputs)[:, 0]
    assert results["test/mse"] == pytest.approx(((outputs - target) ** 2).mean().item(), rel=1e-5)
    assert results["test/agreement"] == pytest.approx((outputs - others).abs().mean().item(), rel=1e-5)
    assert 0.2 < results["test/r2"] < 1
    assert module.tested["predicted"].shape == module.tested["true"].shape == (442, 1)
    figures = Regression(1).figures({"student": {name: value.numpy() for name, value in module.tested.items()}})
    ((title, figure),) = figures.items()
    assert title == "Predicted against true"
    assert figure["data"][0]["y"] == pytest.approx(outputs.tolist(), abs=1e-5)
