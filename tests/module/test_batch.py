"""A batch, whatever the loader gave."""

from collections import UserDict
from typing import Any, NamedTuple

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kd_lightning import DistillationModule, Term
from kd_lightning.batch import as_batch
from kd_lightning.errors import UserError
from kd_lightning.tasks.labels import check_labels

X, Y, INDEX, MIXED = torch.randn(2, 3), torch.tensor([0, 1]), torch.tensor([5, 9]), torch.rand(2, 4)


class Pair(NamedTuple):
    images: Tensor
    labels: Tensor


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (X, {"input": X}),
        ((X,), {"input": X}),
        ([X], {"input": X}),
        ((X, Y), {"input": X, "target": Y}),
        ([X, Y], {"input": X, "target": Y}),
        (Pair(X, Y), {"input": X, "target": Y}),
        ((X, None), {"input": X}),
        ({"input": X}, {"input": X}),
        ({"input": X, "target": None, "index": INDEX}, {"input": X, "index": INDEX}),
        ({"target": Y, "view": INDEX, "input": X}, {"input": X, "target": Y, "view": INDEX}),
        (UserDict({"input": X, "target": Y}), {"input": X, "target": Y}),
        ({"image": X, "label": Y}, {"input": X, "target": Y}),
        ({"pixel_values": X, "labels": Y, "index": INDEX}, {"input": X, "target": Y, "index": INDEX}),
        ({"pixel_values": X}, {"input": X}),
        ({"image": X, "label": Y, "idx": INDEX}, {"input": X, "target": Y, "index": INDEX}),
        ({"image": X, "labels": Y, "path": ["a.png", "b.png"]}, {"input": X, "target": Y}),
        ((X, Y, INDEX), {"input": X, "target": Y, "index": INDEX}),
        ([X, None, INDEX], {"input": X, "index": INDEX}),
        ((X, MIXED, INDEX), {"input": X, "target": MIXED, "index": INDEX}),
    ],
)
def test_what_a_loader_may_give(given: Any, expected: dict[str, Tensor]) -> None:
    batch = as_batch(given)
    assert type(batch) is dict
    assert batch.keys() == expected.keys()
    assert all(batch[name] is value for name, value in expected.items())


def test_several_tensors_without_an_input_are_one() -> None:
    given = {"input_ids": X, "attention_mask": INDEX, "labels": Y, "view": INDEX}
    assert as_batch(given) == {"input": {"input_ids": X, "attention_mask": INDEX}, "target": Y, "view": INDEX}


def test_the_loaders_own_mapping_is_left_alone() -> None:
    given = {"input": X, "target": None}
    as_batch(given)["more"] = Y
    assert given == {"input": X, "target": None}


@pytest.mark.parametrize(
    "given", [{"labels": Y}, {"image": "a.png"}, {}, (), (X, X, Y), (X, Y, X), (X, Y, Y[:1]), "input", 3, None]
)
def test_what_it_may_not(given: Any) -> None:
    with pytest.raises(UserError, match=f"^batch of type {type(given).__name__}: give \\(input, target\\)"):
        as_batch(given)


@pytest.mark.parametrize("given", [(X.numpy(), Y), [[X, Y], [X, Y]], {"input": [X]}])
def test_inputs_are_tensors(given: Any) -> None:
    """As of numpy, or of two loaders side by side."""
    with pytest.raises(
        UserError, match=r"^batch of type \w+, its input of type (ndarray|list): give .* of tensors and"
    ):
        as_batch(given)


def test_labels_are_a_tensor() -> None:
    with pytest.raises(UserError, match=r"^target of type list: give a tensor of class indices"):
        check_labels({"input": X, "target": ["cat", "dog"]}, num_classes=2)  # type: ignore[dict-item]


class Indexed(Dataset[Any]):
    """Sample k: an input, its label, and k."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, k: int) -> tuple[Tensor, int, int]:
        return torch.full((4,), float(k)), k % 2, k


class Weights(nn.Module):
    """Keeps what it is given of a batch."""

    seen: list[tuple[Tensor, Tensor]]

    def forward(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        self.seen = [*getattr(self, "seen", []), (target, index)]
        return nn.functional.cross_entropy(logits, target)


def test_a_term_takes_the_index_of_a_triple() -> None:
    loss = Weights()
    terms = {"ce": Term(loss, ["student.logits", "target", "index"])}
    module = DistillationModule(nn.Linear(4, 2), terms=terms, num_classes=2)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=1, enable_checkpointing=False, **quiet)
    trainer.fit(module, DataLoader(Indexed(), batch_size=4), DataLoader(Indexed(), batch_size=4))
    assert torch.cat([index for _, index in loss.seen]).tolist() == list(range(8))
    assert all(torch.equal(target, index % 2) for target, index in loss.seen)
    assert "val/top1" in trainer.callback_metrics
