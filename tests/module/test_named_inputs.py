"""Inputs that are mappings: a network is called with them by name, and may return more than a tensor."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kd_lightning import DistillationModule, Term
from kd_lightning.batch import as_batch
from kd_lightning.losses import CrossEntropy, FitNet, SoftTarget
from kd_lightning.models import projectors
from kd_lightning.sources import MovingAverage
from kd_lightning.taps.resolving import find_all

WORDS, CLASSES, LENGTH = 11, 3, 5


class ModelOutput(OrderedDict[str, Any]):
    """As Hugging Face's: an ordered mapping with attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


class Reader(nn.Module):
    """A text classifier of two blocks; `returns` says in what it gives its logits."""

    def __init__(self, width: int = 8, returns: str = "output", seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(2))
        self.head = nn.Linear(width, CLASSES)
        self.returns = returns
        self.calls = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        self.calls += 1
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        mask = attention_mask[..., None].to(hidden.dtype)
        logits = self.head((hidden * mask).sum(1) / mask.sum(1))
        made = {
            "tensor": lambda: logits,
            "tuple": lambda: (logits, hidden),
            "dict": lambda: {"logits": logits, "hidden": hidden},
            "dataclass": lambda: Answer(logits, hidden),
            "output": lambda: ModelOutput(logits=logits, hidden_states=(hidden, hidden)),
        }
        return made[self.returns]()


def rows(count: int = 12) -> list[dict[str, Tensor]]:
    noise = torch.Generator().manual_seed(0)
    return [
        {
            "input_ids": torch.randint(WORDS, (LENGTH,), generator=noise),
            "attention_mask": (torch.arange(LENGTH) < 2 + number % 4).long(),
            "labels": torch.tensor(number % CLASSES),
        }
        for number in range(count)
    ]


TERMS = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"]),
    "kd": Term(SoftTarget(), ["student.logits", "teacher.logits"]),
}
SILENT: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "max_epochs": 1,
    "enable_checkpointing": False,
}


@pytest.mark.parametrize("returns", ["tensor", "tuple", "dict", "dataclass", "output"])
def test_it_trains_and_tests_on_batches_of_a_text_classifier(tmp_path: Path, returns: str) -> None:
    module = DistillationModule(
        Reader(returns=returns), Reader(16, returns=returns, seed=1), TERMS, num_classes=CLASSES
    )
    trainer = Trainer(default_root_dir=tmp_path, **SILENT)
    trainer.fit(module, DataLoader(rows(), 4))
    (tested,) = trainer.test(module, DataLoader(rows(), 4), verbose=False)
    batch = as_batch(next(iter(DataLoader(rows(), 12))))
    student = module.student.eval()
    made = student(**batch["input"])
    logits = made if returns == "tensor" else made[0] if returns == "tuple" else getattr(made, "logits", None)
    logits = made["logits"] if logits is None else logits
    assert tested["test/top1"] == pytest.approx((logits.argmax(1) == batch["target"]).float().mean().item())


def test_its_features_are_found_and_learned_from(tmp_path: Path) -> None:
    batch = as_batch(next(iter(DataLoader(rows(), 4))))
    terms = {
        **TERMS,
        "hint": Term(FitNet(), ["student.last_stage", "teacher.last_stage"], 1.0, projectors.Regressor),
    }
    module = DistillationModule(Reader(), Reader(16, seed=1), terms, example_input=batch["input"], num_classes=CLASSES)
    Trainer(default_root_dir=tmp_path, **SILENT).fit(module, DataLoader(rows(), 4))
    signals = module.signals(batch)
    assert signals["student.stage2"].shape == (4, LENGTH, 8)
    assert signals["teacher.stage2"].shape == (4, LENGTH, 16)


def test_its_moving_average_sees_the_same_inputs(tmp_path: Path) -> None:
    module = DistillationModule(Reader(), MovingAverage(0.5), TERMS)
    Trainer(default_root_dir=tmp_path, **SILENT).fit(module, DataLoader(rows(), 4))


def test_one_run_of_a_network_finds_all_of_its_taps() -> None:
    network = Reader()
    found = find_all(network, as_batch(next(iter(DataLoader(rows(), 2))))["input"], None)
    assert {"logits", "pooled", "stage1", "classifier_weight"} <= found.keys()
    assert network.calls == 1


class TwoInputs(nn.Module):
    def forward(self, sound: Tensor) -> Tensor:
        return sound.mean(-1)


def test_a_term_takes_a_source_on_another_input() -> None:
    terms = {"own": Term(SoftTarget(), ["student@sound.logits", "student.logits.detached"])}
    module = DistillationModule(TwoInputs(), None, terms)
    batch = {"input": torch.randn(4, 3, 7), "sound": torch.randn(4, 3, 9)}
    signals = module.signals(batch)
    torch.testing.assert_close(signals["student@sound.logits"], batch["sound"].mean(-1))


def test_a_network_sees_the_first_input_first_then_the_others_as_terms_name_them() -> None:
    """Batch normalisations remember the order, so that it must not be that of a set of names."""
    names = [f"view{number}" for number in range(6)]
    network = nn.Linear(2, CLASSES)
    seen: list[float] = []
    network.register_forward_pre_hook(lambda _, args: seen.append(float(args[0][0, 0])))
    terms = {name: Term(CrossEntropy(), [f"student@{name}.logits", "target"]) for name in names}
    terms |= {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
    batch = {
        "input": torch.zeros(2, 2),
        **{f"input_{name}": torch.full((2, 2), n + 1.0) for n, name in enumerate(names)},
    }
    module = DistillationModule(network, terms=terms)
    seen.clear()
    module.signals({**batch, "target": torch.zeros(2, dtype=torch.int64)})
    assert seen == [0, 1, 2, 3, 4, 5, 6]
