"""A moving average of the learner as its teacher: w ← d·w + (1 - d)·w_learner after each optimizer step."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.sources import FrozenNetwork, MovingAverage

DATA = TensorDataset(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3)
TERMS = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"]),
    "kd": Term(SoftTarget(), ["student.logits", "teacher.logits"]),
}


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def module(decay: float = 0.9) -> DistillationModule:
    return DistillationModule(network(), MovingAverage(decay), TERMS)


def trainer(folder: Path, **options: Any) -> Trainer:
    silent = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(default_root_dir=folder, **{"max_epochs": 2, "enable_checkpointing": False, **silent, **options})


def batches() -> DataLoader[Any]:
    return DataLoader(DATA, batch_size=4)


class Weights(Callback):
    """Notes the learner's weights after each batch, in float64."""

    def __init__(self) -> None:
        self.each: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.each.append({name: value.double().clone() for name, value in pl_module.student.state_dict().items()})


@pytest.mark.parametrize("accumulated", [1, 3])
def test_it_averages_the_weights_after_each_optimizer_step(tmp_path: Path, accumulated: int) -> None:
    trained, seen = module(), Weights()
    average = {name: value.double().clone() for name, value in trained.student.state_dict().items()}
    trainer(tmp_path, callbacks=[seen], accumulate_grad_batches=accumulated).fit(trained, batches())
    for weights in seen.each[accumulated - 1 :: accumulated]:
        for name, value in weights.items():
            is_buffer = "running" in name or "num_batches" in name
            average[name] = value if is_buffer else 0.9 * average[name] + 0.1 * value
    assert isinstance(trained.teacher, MovingAverage)
    own = trained.teacher.network.state_dict()
    weights_alone = [name for name in own if "running" not in name and "num_batches" not in name]
    assert len(seen.each) == 6
    torch.testing.assert_close({n: own[n].double() for n in weights_alone}, {n: average[n] for n in weights_alone})


def test_it_neither_learns_nor_leaves_eval_mode(tmp_path: Path) -> None:
    trained = module()
    trainer(tmp_path).fit(trained, batches())
    assert trained.teacher is not None
    assert not any(weight.requires_grad for weight in trained.teacher.parameters())
    assert not any(part.training for part in trained.teacher.modules())


def test_it_is_in_checkpoints_and_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = module()
    trainer(tmp_path).fit(whole, batches())
    first = trainer(tmp_path, max_epochs=1)
    first.fit(module(), batches())
    first.save_checkpoint(tmp_path / "first.ckpt")
    resumed = module()
    trainer(tmp_path).fit(resumed, batches(), ckpt_path=str(tmp_path / "first.ckpt"), weights_only=True)
    assert any(name.startswith("teacher.") for name in resumed.state_dict())
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("make", [lambda: MovingAverage(1.0), lambda: MovingAverage(of="assistant")])
def test_bad_arguments_are_told(make: Callable[[], MovingAverage]) -> None:
    with pytest.raises(UserError, match=r"^(decay=1\.0: must be|of=assistant: name the learner .* there are student)"):
        DistillationModule(network(), make(), TERMS)


def test_a_frozen_one_goes_into_no_checkpoint() -> None:
    frozen = DistillationModule(network(), FrozenNetwork(copy.deepcopy(network())), TERMS)
    assert not any(name.startswith("teacher.") for name in frozen.state_dict())
