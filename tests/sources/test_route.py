"""A route: each epoch of a training learns from one anchor, as a loop written by hand does."""

from pathlib import Path

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import SoftTarget
from kd_lightning.models import save_weights
from kd_lightning.sources import Anchor, Mastery, Route
from kd_lightning.tasks import Column

CLASSES, SIZE = 3, 8


@pytest.fixture
def anchors(tmp_path: Path) -> list[Path]:
    files = []
    for place in range(3):
        files.append(tmp_path / f"epoch_{place + 1}.safetensors")
        save_weights(nn.Linear(SIZE, CLASSES), files[-1])
    return files


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(16, SIZE)


def trained(student: nn.Module, route: Route, inputs: Tensor, epochs: int) -> lightning.Trainer:
    terms = {"kd": Term(SoftTarget(temperature=1), ["student.logits", "teacher.logits"])}
    module = DistillationModule(student, route, terms, lambda parameters: torch.optim.SGD(parameters, lr=0.5))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(inputs, torch.zeros(len(inputs), dtype=torch.int64)), batch_size=8))
    return trainer


def by_hand(student: nn.Linear, files: list[Path], inputs: Tensor, places: list[int]) -> None:
    from safetensors.torch import load_file

    for place in places:
        teacher = load_file(files[place])
        for batch in inputs.split(8):
            target = F.linear(batch, teacher["weight"], teacher["bias"]).softmax(dim=1)
            loss = -(target * student(batch).log_softmax(dim=1)).sum() / len(batch)
            gradients = torch.autograd.grad(loss, [*student.parameters()])
            with torch.no_grad():
                for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                    parameter -= 0.5 * gradient


@pytest.mark.parametrize(
    ("moves", "epochs", "places"),
    [(None, 6, [0, 0, 1, 1, 2, 2]), (None, 4, [0, 1, 2, 2]), ([1, 2], 5, [0, 1, 2, 2, 2])],
)
def test_each_epoch_learns_from_one_anchor(
    moves: list[int] | None, epochs: int, places: list[int], anchors: list[Path], inputs: Tensor
) -> None:
    student, other = nn.Linear(SIZE, CLASSES), nn.Linear(SIZE, CLASSES)
    other.load_state_dict(student.state_dict())
    trained(student, Route(nn.Linear(SIZE, CLASSES), anchors, moves=moves), inputs, epochs)
    by_hand(other, anchors, inputs, places)
    for own, expected in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(own, expected)


def test_one_anchor_is_in_memory_and_the_last_one_outside_of_a_training(anchors: list[Path], inputs: Tensor) -> None:
    network = nn.Linear(SIZE, CLASSES)
    route = Route(network, anchors)
    before = route({"input": inputs})["logits"]
    assert [*route.parameters()] == [*network.parameters()]
    assert not any(parameter.requires_grad for parameter in network.parameters())
    trained(nn.Linear(SIZE, CLASSES), route, inputs, 3)
    torch.testing.assert_close(route({"input": inputs})["logits"], before, rtol=0, atol=0)
    assert len({one["sha256"] for one in route.identities()}) == 3
    assert route.identity()["sha256"] == route.identities()[-1]["sha256"]
    assert not route.state_dict(), "no frozen network is in a checkpoint"


def test_what_is_no_route_is_refused(anchors: list[Path], inputs: Tensor) -> None:
    network = nn.Linear(SIZE, CLASSES)
    with pytest.raises(UserError, match=r"anchors=\[\]: a route has at least one"):
        Route(network, [])
    with pytest.raises(UserError, match=r"moves=\[3, 2\]: must be a list of the student's epochs, ascending"):
        Route(network, anchors, moves=[3, 2])
    with pytest.raises(UserError, match=r"moves=\[3\]: 3 anchors have 2 moves between them"):
        Route(network, anchors, moves=[3])
    with pytest.raises(UserError, match=r"moves=\[1, 4\]: the training has 4 epochs, and never comes to the last"):
        trained(nn.Linear(SIZE, CLASSES), Route(network, anchors, moves=[1, 4]), inputs, 4)
    with pytest.raises(UserError, match="anchors=3: the training has 2 epochs"):
        trained(nn.Linear(SIZE, CLASSES), Route(nn.Linear(SIZE, CLASSES), anchors), inputs, 2)
    with pytest.raises(UserError, match="anchors="):
        Route(nn.Linear(SIZE, CLASSES + 1), anchors)
    with pytest.raises(UserError, match="share=0: must be above 0"):
        Mastery(0)


def test_a_gate_compares_in_the_direction_of_what_selects() -> None:
    accuracy, error = Column("top1", "top-1"), Column("mae", "error", higher_is_better=False)
    gate = Mastery(0.9)
    assert gate({"top1": 0.54}, {"top1": 0.6}, accuracy)
    assert not gate({"top1": 0.53}, {"top1": 0.6}, accuracy)
    assert gate({"mae": 2.2}, {"mae": 2.0}, error)
    assert not gate({"mae": 2.3}, {"mae": 2.0}, error)
    assert not gate({"top1": 0.9}, {}, accuracy), "of an anchor that nobody measured"
    assert gate({"top1": 0.0}, {"top1": 0.0}, accuracy), "what the anchor does not know is mastered"


def test_an_anchor_has_a_title_and_what_it_reached(anchors: list[Path]) -> None:
    route = Route(nn.Linear(SIZE, CLASSES), [Anchor(anchors[0], "early", {"top1": 0.5}), anchors[1]])
    assert [one.title for one in route.anchors] == ["early", "epoch_2"]
