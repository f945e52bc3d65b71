"""Finding a learning rate: where it is, that nothing else is left of the search, and what is refused."""

import csv
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import LRFinder
from kd_lightning.callbacks.rate_finder import steepest
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.optimizers import LayerDecay
from kd_lightning.schedules.learning_rate import Cosine
from tests.conftest import Command

QUIET: Any = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}


def network(width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Dropout(0.3), nn.Linear(width, 3))


def module_of(optimizer: Any, several: bool = False, **options: Any) -> DistillationModule:
    torch.manual_seed(0)
    terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
    if several:
        terms["mutual"] = Term(SoftTarget(temperature=2), ["student.logits", "peers.logits"])
    student = {"one": network(), "two": network(4)} if several else network()
    schedule = Cosine(interval="step", warmup=0.3)
    given = {"scheduler": schedule, **options}
    return DistillationModule(student=student, terms=terms, num_classes=3, optimizer=optimizer, **given)


def fitted(module: DistillationModule, *callbacks: Any, epochs: int = 2, ckpt: Path | None = None) -> Trainer:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(64, 8, generator=draw)
    loader = DataLoader(TensorDataset(images, images[:, :3].argmax(1)), batch_size=8, shuffle=True)
    saves = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    torch.manual_seed(5)
    trainer = Trainer(max_epochs=epochs, callbacks=[*callbacks], enable_checkpointing=saves, **QUIET)
    trainer.fit(module, loader, ckpt_path=ckpt, weights_only=True)
    return trainer


def assert_equal(found: DistillationModule, expected: DistillationModule) -> None:
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-6, atol=1e-7)


def test_a_training_is_the_one_with_the_found_rate_given() -> None:
    """Weights, statistics, momentum, the order of batches, dropout: all as if nobody had searched."""
    finder = LRFinder(steps=60)
    found = module_of(partial(torch.optim.SGD, lr=0.007, momentum=0.9))
    fitted(found, finder)
    assert 1e-5 < finder.found["student"] < 1
    expected = module_of(partial(torch.optim.SGD, lr=finder.found["student"], momentum=0.9))
    fitted(expected)
    assert_equal(found, expected)


def test_each_learner_gets_its_own() -> None:
    finder = LRFinder(steps=60)
    makers = {"one": partial(torch.optim.SGD, lr=0.1), "two": partial(torch.optim.Adam, lr=0.1)}
    found = module_of(makers, several=True)
    fitted(found, finder)
    assert len(set(finder.found.values())) == 2
    given = {name: partial(maker.func, lr=finder.found[name]) for name, maker in makers.items()}
    expected = module_of(given, several=True)
    fitted(expected)
    assert_equal(found, expected)


def test_rates_by_layer_keep_their_proportion() -> None:
    finder = LRFinder(steps=60)
    trainer = fitted(module_of(LayerDecay(partial(torch.optim.SGD, lr=0.1), 0.5)), finder)
    rates = {group["name"]: group["initial_lr"] for group in trainer.optimizers[0].param_groups}
    assert rates["layer1"] == pytest.approx(finder.found["student"])
    assert rates["layer0"] == pytest.approx(finder.found["student"] / 2)


def test_a_training_that_goes_on_keeps_its_rate(tmp_path: Path) -> None:
    first, second, third = LRFinder(steps=60), LRFinder(steps=60), LRFinder(steps=60)
    maker = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    fitted(module_of(maker), first, ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True), epochs=1)
    trainer = fitted(module_of(maker), second, epochs=1, ckpt=tmp_path / "last.ckpt")
    assert first.found == second.found
    assert trainer.optimizers[0].param_groups[0]["initial_lr"] == pytest.approx(first.found["student"])
    fitted(module_of(maker), third)
    assert third.found == pytest.approx(first.found)


def test_the_rate_is_where_the_loss_falls_fastest() -> None:
    """Of a loss that falls like a logistic curve around 0.01 and rises later, as its running mean does."""
    rates = [10 ** (-5 + 0.05 * n) for n in range(100)]
    losses = [1 / (1 + math.exp(3 * (math.log10(rate) + 2))) + (10 * max(0.0, rate - 0.3)) ** 2 for rate in rates]
    found = steepest(rates, losses)
    assert found is not None
    mean, curve = 0.0, []
    for n, loss in enumerate(losses, 1):
        mean = 0.98 * mean + 0.02 * loss
        curve.append(mean / (1 - 0.98**n))
    lowest = curve.index(min(curve))
    drops = {rates[n]: curve[n + 1] - curve[n - 1] for n in range(10, lowest)}
    assert found == min(drops, key=lambda rate: drops[rate])
    assert 1e-2 < found < 0.3
    assert steepest(rates, [float(n) for n in range(100)]) is None
    assert steepest(rates[:2], losses[:2]) is None


def test_what_cannot_be_is_refused() -> None:
    for wrong, line in (({"lowest": 1.0}, r"^lowest=1.0: must be above 0 and below"), ({"steps": 3}, r"^steps=3: ")):
        with pytest.raises(UserError, match=line):
            LRFinder(**wrong)  # type: ignore[arg-type]
    cycle = {"scheduler": partial(OneCycleLR, max_lr=0.1, total_steps=16)}
    with pytest.raises(UserError, match=r"^LRFinder: scheduler=OneCycleLR"):
        fitted(module_of(partial(torch.optim.SGD, lr=0.1), **cycle), LRFinder(steps=60))


SMALL = ("teacher=none", "callbacks=lr_finder", "callbacks.progress_bar=null", "trainer.max_epochs=1")


def test_a_run_tells_its_rate(command: Command) -> None:
    done = command("kd-train", *SMALL, "trainer.log_every_n_steps=1", "scheduler=constant", "hydra.run.dir=run")
    assert done.code == 0, done.errors
    rate = json.loads((done.folder / "run/summary.json").read_text())["student"]["found_lr"]
    assert f"learning rate  {rate:.3g}, found in " in done.output
    with (done.folder / "run/metrics.csv").open() as file:
        logged = {row["lr-SGD"] for row in csv.DictReader(file)} - {""}
    assert [float(one) for one in logged] == [pytest.approx(rate)]
    for options in (("optimizer.lr=0.1",), ("-m", "optimizer.lr=0.1,0.2")):
        refused = command("kd-train", *SMALL, *options)
        assert refused.code == 2
        assert "optimizer.lr=0.1: callbacks.lr_finder finds the rate in its place" in refused.error_lines[0]
    curriculum = "curriculum={_target_: kd_lightning.curricula.Curriculum}"
    refused = command("kd-train", *SMALL, curriculum)
    assert refused.error_lines[0].startswith("error: callbacks.lr_finder: tries the first batches")
