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


def module(decay: float = 0.9, warmup: bool = False) -> DistillationModule:
    return DistillationModule(network(), MovingAverage(decay, warmup=warmup), TERMS)


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


@pytest.mark.parametrize(("accumulated", "warmup"), [(1, False), (3, False), (1, True)])
def test_it_averages_the_weights_after_each_optimizer_step(tmp_path: Path, accumulated: int, warmup: bool) -> None:
    decays = [0.1, 2 / 11, 0.25, 4 / 13, 5 / 14, 0.4] if warmup else [0.9] * 6
    trained, seen = module(warmup=warmup), Weights()
    average = {name: value.double().clone() for name, value in trained.student.state_dict().items()}
    trainer(tmp_path, callbacks=[seen], accumulate_grad_batches=accumulated).fit(trained, batches())
    for weights, decay in zip(seen.each[accumulated - 1 :: accumulated], decays, strict=False):
        for name, value in weights.items():
            is_buffer = "running" in name or "num_batches" in name
            average[name] = value if is_buffer else decay * average[name] + (1 - decay) * value
    assert isinstance(trained.teacher, MovingAverage)
    own = trained.teacher.network.state_dict()
    assert trained.teacher.updates == 6 // accumulated
    weights_alone = [name for name in own if "running" not in name and "num_batches" not in name]
    assert len(seen.each) == 6
    torch.testing.assert_close({n: own[n].double() for n in weights_alone}, {n: average[n] for n in weights_alone})


def test_it_neither_learns_nor_leaves_eval_mode(tmp_path: Path) -> None:
    trained = module()
    trainer(tmp_path).fit(trained, batches())
    assert trained.teacher is not None
    assert not any(weight.requires_grad for weight in trained.teacher.parameters())
    assert not any(part.training for part in trained.teacher.modules())


@pytest.mark.parametrize("warmup", [False, True])
def test_it_is_in_checkpoints_and_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path: Path, warmup: bool) -> None:
    whole = module(warmup=warmup)
    trainer(tmp_path).fit(whole, batches())
    first = trainer(tmp_path, max_epochs=1)
    first.fit(module(warmup=warmup), batches())
    first.save_checkpoint(tmp_path / "first.ckpt")
    resumed = module(warmup=warmup)
    trainer(tmp_path).fit(resumed, batches(), ckpt_path=str(tmp_path / "first.ckpt"), weights_only=True)
    assert any(name.startswith("teacher.") for name in resumed.state_dict())
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_steps_that_are_skipped_count_not(tmp_path: Path) -> None:
    inputs = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    inputs[4:8] = torch.inf
    data = DataLoader(TensorDataset(inputs, torch.arange(12) % 3), batch_size=4)
    average = MovingAverage(0.9, warmup=True)
    skipping = DistillationModule(nn.Linear(6, 3), average, TERMS, on_nonfinite="skip")
    trainer(tmp_path, max_epochs=1).fit(skipping, data)
    assert average.updates == 2


class OfRanks(Callback):
    """Keeps each rank's weights after each step, and its average at the end."""

    def __init__(self) -> None:
        self.each: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.each.append({name: value.clone() for name, value in pl_module.student.state_dict().items()})

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        kept = {"each": self.each, "average": pl_module.teacher.network.state_dict()}
        torch.save(kept, Path(trainer.default_root_dir) / str(trainer.global_rank))


@pytest.mark.slow
def test_two_ranks_have_the_same_average(tmp_path: Path) -> None:
    torch.manual_seed(1)
    alone = DistillationModule(nn.Linear(6, 3), MovingAverage(0.9, warmup=True), TERMS)
    begun = {name: value.clone() for name, value in alone.student.state_dict().items()}
    ranks = {"devices": 2, "strategy": "ddp_spawn", "callbacks": [OfRanks()]}
    trainer(tmp_path, **ranks).fit(alone, DataLoader(DATA, batch_size=2))
    first, second = (torch.load(tmp_path / name) for name in "01")
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert len(first["each"]) == 6
    for step, weights in enumerate(first["each"]):
        decay = min(0.9, (1 + step) / (10 + step))
        begun = {name: decay * begun[name] + (1 - decay) * value for name, value in weights.items()}
    torch.testing.assert_close(first["average"], begun)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MovingAverage(1.0),
        lambda: MovingAverage("0.9"),  # type: ignore[arg-type]
        lambda: MovingAverage(warmup=10),  # type: ignore[arg-type]
        lambda: MovingAverage(of="assistant"),
    ],
)
def test_bad_arguments_are_told(make: Callable[[], MovingAverage]) -> None:
    of = "teacher.of=assistant: name the learner .* there are student"
    with pytest.raises(UserError, match=rf"^(decay=(1\.0|0\.9): must be|warmup=10: must be true or false|{of})"):
        DistillationModule(network(), make(), TERMS)


def test_a_frozen_one_goes_into_no_checkpoint() -> None:
    frozen = DistillationModule(network(), FrozenNetwork(copy.deepcopy(network())), TERMS)
    assert not any(name.startswith("teacher.") for name in frozen.state_dict())
