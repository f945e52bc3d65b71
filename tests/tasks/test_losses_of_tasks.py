"""A task refuses losses on other outputs than its own, by what they say of themselves."""

import pytest
from torch import nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import DKD, BernoulliKD, BinaryCrossEntropy, CrossEntropy, MeanSquaredError, SoftTarget
from kd_lightning.tasks import Classification, MultiLabel, Regression, SemanticSegmentation, Task, TokenClassification

BOTH = ["student.logits", "teacher.logits"]
KIND = {"classes": CrossEntropy(), "labels": BinaryCrossEntropy(), "numbers": MeanSquaredError()}


class OwnSoftTarget(SoftTarget):
    """Says no more than that it matches soft targets."""

    outputs = None


class SaysNothing(nn.Module):
    pass


@pytest.mark.parametrize(
    "task", [Classification(3), MultiLabel(3), Regression(3), SemanticSegmentation(3), TokenClassification(3)]
)
def test_a_task_takes_losses_on_its_outputs_alone(task: Task) -> None:
    assert task.outputs is not None
    task.check_losses({"own": task.loss(), "other": SaysNothing()})
    for outputs, loss in KIND.items():
        if outputs == task.outputs:
            task.check_losses({"own": loss})
        else:
            with pytest.raises(
                UserError, match=rf"^loss\.own={type(loss).__name__}: .*{type(task).__name__} has .*; take "
            ):
                task.check_losses({"loss.own": loss})


@pytest.mark.parametrize("loss", [SoftTarget(), OwnSoftTarget(), DKD(), BernoulliKD()])
def test_a_regression_refuses_soft_targets(loss: nn.Module) -> None:
    signals = [*BOTH, "target"] if isinstance(loss, DKD) else BOTH
    message = r"^terms\.own=\w+: takes outputs of .*; take mse, mae, regression_kd, or another task"
    with pytest.raises(UserError, match=message):
        DistillationModule(nn.Linear(3, 2), nn.Linear(3, 2), {"own": Term(loss, signals)}, task=Regression(2))
