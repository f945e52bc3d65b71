"""Teachers are never trained, never changed and never stored."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.losses import MeanSquaredLogits
from kd_lightning.models.weights.weights import state_sha256
from kd_lightning.sources import FrozenNetwork, FrozenSource

BATCH = {"input": torch.randn(4, 3, 8, 8), "index": torch.tensor([2, 0, 3, 1])}


def network() -> nn.Sequential:
    """Batch normalisation and dropout tell the modes apart."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, 5)
    )


class Pupil(nn.Module):
    """A student beside its teacher, as in a LightningModule."""

    def __init__(self, teacher: FrozenSource) -> None:
        super().__init__()
        self.student = nn.Linear(3, 2)
        self.teacher = teacher


class Table(FrozenSource):
    """A user's own: the answers are looked up, the head is a parameter, another teacher stands behind."""

    def __init__(self) -> None:
        super().__init__()
        self.signals = ["logits", "pooled"]
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.table = nn.Embedding(6, 5)
        self.behind = FrozenNetwork(network())
        self.freeze()

    def answer(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = self.scale * self.table(batch["index"])
        return {"logits": logits, "pooled": self.behind(batch)["logits"]}

    def identity(self) -> dict[str, Any]:
        return {"model": "table"}


def frozen() -> FrozenSource:
    return FrozenNetwork(network())


def values(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in (*module.parameters(), *module.buffers())]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


every_teacher = pytest.mark.parametrize("make", [frozen, Table])
WAYS_TO_TRAIN: dict[str, Callable[[Pupil], object]] = {
    "the parent": lambda pupil: pupil.train(),
    "the teacher": lambda pupil: pupil.teacher.train(),
    "with a mode": lambda pupil: pupil.teacher.train(mode=True),
    "apply": lambda pupil: pupil.apply(lambda module: module.train()),
    "each module": lambda pupil: [module.train() for module in pupil.modules()],
    "the parts inside": lambda pupil: [part.train() for part in pupil.teacher.children()],
}


@every_teacher
@pytest.mark.parametrize("way", WAYS_TO_TRAIN)
def test_answers_in_eval_mode_whoever_calls_train(make: Callable[[], FrozenSource], way: str) -> None:
    pupil = Pupil(make())
    before, expected = values(pupil.teacher), pupil.teacher(BATCH)
    WAYS_TO_TRAIN[way](pupil)
    answer = pupil.teacher(BATCH)
    assert not any(module.training for module in pupil.teacher.modules())
    torch.testing.assert_close({name: answer[name] for name in expected}, dict(expected))
    assert same(values(pupil.teacher), before)


def test_the_parents_mode_is_its_own() -> None:
    pupil = Pupil(frozen())
    pupil.train()
    assert pupil.student.training
    assert not any(module.training for module in pupil.teacher.modules())


@every_teacher
def test_no_gradient(make: Callable[[], FrozenSource]) -> None:
    teacher = make()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    x = BATCH["input"].clone().requires_grad_()
    answer = teacher({**BATCH, "input": x})
    assert answer
    assert not any(value.requires_grad for value in answer.values())


@every_teacher
def test_a_checkpoint_holds_no_teacher(make: Callable[[], FrozenSource]) -> None:
    pupil = Pupil(make())
    assert dict(pupil.teacher.state_dict()) == {}
    assert set(pupil.state_dict()) == {"student.weight", "student.bias"}
    assert set(pupil.state_dict(prefix="whole.")) == {"whole.student.weight", "whole.student.bias"}


@every_teacher
@pytest.mark.parametrize("assign", [False, True])
def test_strict_loading_guards_the_student_and_leaves_the_teacher_alone(
    make: Callable[[], FrozenSource], assign: bool
) -> None:
    source, pupil = Pupil(make()), Pupil(make())
    before = values(pupil.teacher)
    state = source.state_dict()
    result = pupil.load_state_dict(state, strict=True, assign=assign)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert torch.equal(pupil.student.weight, source.student.weight)
    assert same(values(pupil.teacher), before)
    assert not any(parameter.requires_grad for parameter in pupil.teacher.parameters())
    assert set(state) == {"student.weight", "student.bias"}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "student.bias"'):
        pupil.load_state_dict({"student.weight": state["student.weight"]})
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "student.more"'):
        pupil.load_state_dict({**state, "student.more": torch.zeros(1)})


@every_teacher
def test_a_copy_answers_alike_and_stands_alone(make: Callable[[], FrozenSource]) -> None:
    pupil = Pupil(make())
    expected = pupil.teacher(BATCH)
    twin = copy.deepcopy(pupil)
    with torch.no_grad():
        for parameter in pupil.teacher.parameters():
            parameter.zero_()
    twin.load_state_dict(pupil.state_dict())
    twin.train()
    answer = twin.teacher(BATCH)
    torch.testing.assert_close({name: answer[name] for name in expected}, dict(expected))
    assert dict(twin.teacher.state_dict()) == {}


def test_frozen_teacher_gives_the_requested_signals() -> None:
    net = network()
    teacher = FrozenNetwork(net, {"stage1": "1", "pooled": "4:input"})
    assert teacher.signals == ["logits", "stage1", "pooled"]
    assert set(teacher(BATCH)) == {"logits"}
    for wanted in ({"stage1"}, {"logits", "pooled"}):
        teacher.request({"input": wanted})
        answer = teacher(BATCH)
        assert set(answer) == wanted | {"logits"}
        torch.testing.assert_close(answer["logits"], net(BATCH["input"]))
    teacher.request({"input": {"stage1"}})
    torch.testing.assert_close(teacher(BATCH)["stage1"], net[:2](BATCH["input"]))


def test_identity_names_the_network_and_its_weights() -> None:
    net = network()
    identity = FrozenNetwork(net).identity()
    assert identity == {"model": "Sequential", "sha256": state_sha256(net)}
    assert FrozenNetwork(copy.deepcopy(net), {"stage1": "1"}, name="resnet20").identity() == {
        "model": "resnet20",
        "sha256": identity["sha256"],
    }
    assert FrozenNetwork(network()).identity()["sha256"] != identity["sha256"]


def test_two_modules_may_share_a_teacher_and_take_other_taps_of_it(tmp_path: Path) -> None:
    teacher = FrozenNetwork(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2)), {"hidden": "1"})
    hint = {"hint": Term(MeanSquaredLogits(), ["student.logits", "teacher.hidden"])}
    logits = {"kd": Term(MeanSquaredLogits(), ["student.logits", "teacher.logits"])}
    modules = [
        DistillationModule(nn.Sequential(nn.Flatten(), nn.Linear(4, width)), teacher, terms)
        for width, terms in ((3, hint), (2, logits), (3, hint))
    ]
    loader = DataLoader(TensorDataset(torch.rand(8, 1, 2, 2), torch.arange(8) % 2), 4)
    for module in modules:
        training = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        training.fit(module, loader)
        assert training.global_step == 2
