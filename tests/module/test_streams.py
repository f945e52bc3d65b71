"""Several streams of training data: a term says of which it is."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.batch import as_streams, main_stream
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, FitNet, SoftTarget
from kd_lightning.models import projectors

INPUTS, LABELS = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
OTHERS = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))


class Counting(nn.Sequential):
    """A small classifier that notes how many samples it sees."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        self.seen: list[int] = []

    def forward(self, input: Tensor) -> Tensor:
        self.seen.append(len(input))
        return super().forward(input)  # type: ignore[no-any-return]


def loaders() -> dict[str, Any]:
    return {
        "unlabelled": DataLoader(TensorDataset(OTHERS), 10),
        "labelled": DataLoader(TensorDataset(INPUTS, LABELS), 4),
    }


def terms(**stream: str) -> dict[str, Term]:
    return {
        "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.3),
        "kd": Term(SoftTarget(2.0), ["student.logits", "teacher.logits"], 0.7, **stream),
    }


def module(given: dict[str, Term] | None = None, **options: Any) -> DistillationModule:
    sgd = partial(torch.optim.SGD, lr=0.1)
    return DistillationModule(Counting(0), Counting(1), given or terms(stream="unlabelled"), sgd, **options)


def fitted(built: DistillationModule, data: Any) -> DistillationModule:
    Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(
        built, data
    )
    return built


def test_each_term_sees_its_own_stream() -> None:
    """As a loop by hand does it, and no network runs on what no term takes of it."""
    built = module()
    student, teacher = copy.deepcopy(built.student), Counting(1).eval()
    fitted(built, loaders())
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for labelled, target, unlabelled in zip(INPUTS.split(4), LABELS.split(4), OTHERS.split(10), strict=True):
        ce = nn.functional.cross_entropy(student(labelled), target)
        with torch.no_grad():
            wanted = teacher(unlabelled)
        kd = 4 * nn.functional.kl_div(
            (student(unlabelled) / 2).log_softmax(1), (wanted / 2).softmax(1), reduction="batchmean"
        )
        optimizer.zero_grad()
        (0.3 * ce + 0.7 * kd).backward()
        optimizer.step()
    for own, expected in zip(built.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(own, expected)
    assert built.student.seen == [10, 4] * 3
    assert built.teacher is not None
    (network,) = (part for part in built.teacher.modules() if isinstance(part, Counting))
    assert network.seen == [10] * 3, "the teacher is not asked about the stream whose terms do not take it"


def test_the_main_stream_is_the_one_with_targets() -> None:
    batch = {"unlabelled": (OTHERS[:2],), "labelled": (INPUTS[:2], LABELS[:2])}
    streams = as_streams(batch)
    assert {name: sorted(one) for name, one in streams.items()} == {
        "unlabelled": ["input"],
        "labelled": ["input", "target"],
    }
    assert main_stream(streams) == "labelled"
    assert main_stream({"a": {"input": 1}, "b": {"input": 1}}) == "a"
    assert list(as_streams({"input_ids": INPUTS, "labels": LABELS})) == [""], (
        "which is one batch of Hugging Face's kind"
    )


def test_a_term_may_name_the_main_stream_too() -> None:
    named = terms(stream="unlabelled") | {
        "ce": Term(CrossEntropy(), ["student.logits", "target"], 0.3, stream="labelled")
    }
    one, other = fitted(module(named), loaders()), fitted(module(), loaders())
    for own, expected in zip(one.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(own, expected)


def test_parts_are_built_from_examples_of_their_stream() -> None:
    hint = Term(FitNet(), ["student.hint", "teacher.logits"], 1.0, projectors.Regressor, stream="unlabelled")
    examples = {"labelled": (INPUTS[:2], LABELS[:2]), "unlabelled": {"input": OTHERS[:2]}}
    built = module(terms(stream="unlabelled") | {"hint": hint}, student_taps={"hint": "0"}, example_input=examples)
    assert next(tuple(part.shape) for part in built.objective.parameters()) == (3, 5)
    fitted(built, loaders())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            terms(stream="unlabeled"),
            "terms.kd.stream=unlabeled: no stream of the training data; did you mean unlabelled",
        ),
        (
            {"ce": Term(CrossEntropy(), ["student.logits", "target"], stream="unlabelled")},
            "terms.ce.stream=unlabelled: the term takes target, and this stream has none",
        ),
    ],
)
@pytest.mark.parametrize("seen", [True, False], ids=["built", "first step"])
def test_what_a_stream_has_not_is_one_line(given: dict[str, Term], message: str, seen: bool) -> None:
    examples = {"labelled": (INPUTS[:2], LABELS[:2]), "unlabelled": (OTHERS[:2],)}
    with pytest.raises(UserError, match=f"^{message}"):
        fitted(module(given, example_input=examples if seen else None), loaders())


def test_streams_of_a_loader_that_has_none_are_one_line() -> None:
    with pytest.raises(UserError, match=r"^terms.kd.stream=unlabelled: no stream .* the data have one alone"):
        fitted(module(), DataLoader(TensorDataset(INPUTS, LABELS), 4))


def test_a_stream_has_a_name() -> None:
    with pytest.raises(UserError, match=r"^stream=3: must be the name"):
        Term(CrossEntropy(), ["student.logits", "target"], stream=3)  # type: ignore[arg-type]
