"""A learning path: what its gates open, what each epoch then holds, when it ends, and bad input."""

import math
from typing import Any

import networkx as nx
import pytest
import torch

from kd_lightning.curricula import Assessment, Samples
from kd_lightning.curricula.path import (
    AfterEpochs,
    Assessed,
    ByClass,
    Gate,
    Graph,
    LearningPath,
    Mastery,
)
from kd_lightning.errors import UserError
from kd_lightning.schedules import Progress

NAMES = ["a", "b", "c", "d"]
TARGET = torch.arange(40) % 4


class Given(Graph):
    """A graph as it is."""

    def __init__(self, graph: Any, prerequisites: bool = False) -> None:
        self.graph, self.prerequisites = graph, prerequisites

    def make(self, names: Any, samples: Any, known: Any) -> Any:
        return self.graph


CHAIN = nx.path_graph(NAMES)
NEEDED = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d")])


def answers(accuracy: dict[str, float]) -> Any:
    """What a teacher of this accuracy on each class answers to ten validation samples of each."""
    target = torch.arange(4).repeat_interleave(10)
    is_right = torch.cat([torch.arange(10) < round(10 * value) for value in accuracy.values()])
    logits = 5 * torch.nn.functional.one_hot(torch.where(is_right, target, (target + 1) % 4), 4).float()
    signals = {"teacher.logits": logits, "target": target}
    return lambda question: question.value(signals)


def samples(target: torch.Tensor = TARGET, accuracy: dict[str, float] | None = None) -> Samples:
    of_validation = torch.arange(4).repeat_interleave(10)
    known = answers(accuracy or dict.fromkeys(NAMES, 1.0))
    validation = Samples(torch.arange(40), of_validation, of_validation, answers=known)
    return Samples(torch.arange(len(target)), target, target, classes=NAMES, validation=validation)


def begun(
    graph: Any = CHAIN, gate: Gate | None = None, accuracy: dict[str, float] | None = None, **options: Any
) -> LearningPath:
    prerequisites = isinstance(graph, nx.DiGraph)
    chosen = {"start": None if prerequisites else "a", "finish": 0, "against": None, **options}
    path = LearningPath(ByClass(), Given(graph, prerequisites), gate or Mastery(0.9), **chosen)
    path.begin(samples(accuracy=accuracy))
    return path


def taught(path: LearningPath, epoch: int, count: int = 40) -> list[int]:
    """How many samples of each class the epoch holds."""
    return torch.bincount(TARGET[path.draw(epoch, count)], minlength=4).tolist()


def assess(path: LearningPath, epoch: int, *accuracy: float, **metrics: float) -> None:
    path.assess(Assessment(epoch, metrics, by_concept=dict(zip(NAMES, accuracy, strict=True))))


def test_each_concept_is_taught_until_it_is_mastered_and_then_all_are() -> None:
    path = begun(review=0.25)
    assert taught(path, 0) == [40, 0, 0, 0]
    assess(path, 0, 0.95, 0, 0, 0)
    assert taught(path, 1) == [10, 30, 0, 0]
    assess(path, 1, 0.9, 0.85, 0, 0)
    assert taught(path, 2) == [10, 30, 0, 0]
    assert path.account().decisions == ["b: accuracy 0.850, 0.850 < 0.9; it is taught again"]
    assess(path, 2, 0.9, 0.9, 0, 0)
    assert taught(path, 3)[2:] == [30, 0]
    assess(path, 3, 0.9, 0.9, 0.95, 0.99)  # d as well, which was never taught
    assert taught(path, 4) == [10, 10, 10, 10]
    told = path.account()
    assert told.decisions[-1] == "from now on all samples: all goals are mastered"
    assert "as are d" in told.decisions[0]
    assert (told.values["mastered"], told.values["share"], told.teaches) == (1.0, 1.0, NAMES)
    assess(path, 4, 0, 0, 0, 0)
    assert taught(path, 5) == [10, 10, 10, 10]


def test_mastery_is_beside_the_teacher_whose_zero_counts_as_mastered() -> None:
    path = begun(against="teacher", goal="d", accuracy={"a": 0.5, "b": 0.0, "c": 1.0, "d": 0.8})
    assert path.account().decisions[0] == "b counts as mastered: the teacher is never right on it"
    for epoch, (accuracy, teaches) in enumerate(
        [
            ((0.44, 0.0, 0.0, 0.0), ["a"]),  # its start, whatever counts as mastered
            ((0.45, 0.0, 0.0, 0.0), ["a"]),
            ((0.0, 0.0, 0.89, 0.0), ["c"]),
            ((0.0, 0.0, 0.9, 0.0), ["c"]),
            ((0.0, 0.0, 0.0, 0.72), ["d"]),
            ((0.0, 0.0, 0.0, 0.0), NAMES),
        ]
    ):
        path.draw(epoch, 40)
        assert path.account().teaches == teaches
        assess(path, epoch, *accuracy)


def test_waypoints_between_prerequisites_are_never_taught() -> None:
    graph = nx.DiGraph([("a", "w"), ("w", "b"), ("b", "c"), ("c", "d")])
    graph.nodes["w"]["waypoint"] = True
    path = begun(graph, patience=1)
    path.draw(0, 40)
    assess(path, 0, 1, 0, 0, 0)
    path.draw(1, 40)
    assert path.account().teaches == ["b"]
    assess(path, 1, 1, 0, 0, 0)
    path.draw(2, 40)
    assert path.account().decisions[0].endswith("a is reopened")


@pytest.mark.parametrize(
    ("gate", "assessed", "opens"),
    [
        (Mastery(0.9), Assessed("a", 0.45, against=0.5), True),
        (Mastery(0.9), Assessed("a", 0.44, against=0.5), False),
        (Mastery(0.9), Assessed("a", 0.0, against=0.0), True),
        (Mastery(0.9), Assessed("a", 0.89), False),
        (Mastery(0.9), Assessed("a", math.nan), False),
        (Mastery(0.9), Assessed("a", math.nan, against=0.5), False),
        (AfterEpochs(2), Assessed("a", 1.0, epochs=1), False),
        (AfterEpochs(2), Assessed("a", 0.0, epochs=2), True),
    ],
)
def test_a_gate_opens_by_what_was_assessed(gate: Gate, assessed: Assessed, opens: bool) -> None:
    assert gate.opens(assessed) is opens


def test_what_was_not_measured_is_not_mastered() -> None:
    path = begun(until="mastered")
    path.next_progress = Progress(1, 0.01)
    path.draw(0, 40)
    for epoch, by_concept in enumerate([{"b": 1.0, "c": 1.0, "d": 1.0}, {}, {"a": math.nan}], 1):
        path.assess(Assessment(epoch, {}, by_concept=by_concept))
        assert taught(path, epoch) == [40, 0, 0, 0]
        assert path.account().decisions[0].startswith("a: not measured")
    assert path.finished() is None


@pytest.mark.parametrize("graph", [CHAIN, NEEDED], ids=["steps", "prerequisites"])
def test_after_patience_what_comes_before_is_reopened(graph: Any) -> None:
    path = begun(graph, patience=2, review=0.25)
    path.draw(0, 40)
    assess(path, 0, 1, 0, 0, 0)
    path.draw(1, 40)
    assess(path, 1, 1, 1, 0, 0)
    for epoch in (2, 3):
        path.draw(epoch, 40)
        assert path.account().teaches == ["c"]
        assess(path, epoch, 1, 1, 0.2, 0)
    assert taught(path, 4) == [10, 30, 0, 0]  # b again, with a review of a, which alone counts as mastered
    assert path.account().decisions == [
        "c: accuracy 0.200, 0.200 < 0.9 after 2 epochs; b is reopened",
        "path: b → c → d",
    ]
    assess(path, 4, 1, 1, 0.2, 0)
    path.draw(5, 40)
    assert path.account().teaches == ["c"]


def test_where_nothing_comes_before_it_is_taught_again() -> None:
    path = begun(patience=1)
    for epoch in range(3):
        assert taught(path, epoch) == [40, 0, 0, 0]
        assess(path, epoch, 0, 0, 0, 0)
    assert "nothing comes before it" in path.account().decisions[0]


def test_the_last_part_is_on_all_samples_whatever_is_mastered() -> None:
    path = begun(finish=0.4)
    for epoch in range(5):
        path.progress, path.next_progress = Progress(epoch, epoch / 5), Progress(epoch + 1, (epoch + 1) / 5)
        assert taught(path, epoch) == ([40, 0, 0, 0] if epoch < 3 else [10, 10, 10, 10])
        assess(path, epoch, 0, 0, 0, 0)


@pytest.mark.parametrize("until", ["mastered", {"val/top1": 0.95}, {"nll": 0.1}])
def test_until_ends_it_once_that_holds_and_all_samples_had_their_part(until: Any) -> None:
    path = begun(until=until, finish=0.5)
    path.next_progress = Progress(1, 0.01)
    for epoch in range(2):
        path.draw(epoch, 40)
        unmet = {"top1": 0.5, "nll": 1.0}
        path.assess(Assessment(epoch, unmet, by_concept=dict.fromkeys(NAMES, 0.1), falling=["nll"]))
        assert path.finished() is None
    path.draw(2, 40)
    met = Assessment(2, {"top1": 0.96, "nll": 0.05}, by_concept=dict.fromkeys(NAMES, 1.0), falling=["nll"])
    path.assess(met)
    assert path.finished() is None  # nothing was on all samples so far
    for epoch in range(3, 6):
        assert taught(path, epoch) == [10, 10, 10, 10]
        path.assess(met)
        assert (path.finished() is not None) == (epoch == 5)
    assert path.finished() == f"{path.awaits} holds"


def test_an_unknown_metric_of_until_is_named() -> None:
    path = begun(until={"val/foo": 1})
    with pytest.raises(UserError, match=r"curriculum.until.val/foo: .* measures val/top1"):
        assess(path, 0, 0, 0, 0, 0, top1=0.5)


def test_a_state_goes_on_where_it_was() -> None:
    def walked(path: LearningPath, epochs: range) -> list[list[int]]:
        drawn = []
        for epoch in epochs:
            torch.manual_seed(epoch)
            drawn.append(path.draw(epoch, 40).tolist())
            assess(path, epoch, *torch.rand(4).tolist())
        return drawn

    accuracy = dict.fromkeys(NAMES, 0.6)
    whole, again = (begun(gate=Mastery(0.8), accuracy=accuracy, against="teacher", patience=2) for _ in range(2))
    walked(whole, range(4))
    again.load_state_dict(whole.state_dict())
    assert walked(again, range(4, 12)) == walked(whole, range(4, 12))
    assert again.state_dict()["walk"] == whole.state_dict()["walk"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"goal": "e"}, r"curriculum.goal=e: is no concept of the graph; there are a, b, c, d"),
        ({"start": "e"}, r"curriculum.start=e: is no concept"),
        ({"graph": nx.Graph([("a", "e")])}, r"curriculum.graph: node e is no concept of the data"),
        ({"graph": nx.Graph([("a", "b"), ("c", "d")])}, r"curriculum.goal: no path of the graph leads from a, b to c"),
        ({"graph": nx.DiGraph([("a", "b"), ("b", "a")])}, r"go in a circle, a → b → a"),
        ({"graph": NEEDED, "start": "a"}, r"start=a: the graph's edges are prerequisites"),
        ({"graph": nx.Graph([("a", "b", {"cost": -1})])}, r"curriculum.graph: edge a - b has cost -1"),
        ({"review": 1}, r"review=1: would leave nothing"),
        ({"review": 1.5}, r"review=1.5: must be a share"),
        ({"finish": -0.1}, r"finish=-0.1: must be a share"),
        ({"patience": 0}, r"patience=0: must be a whole number"),
        ({"goal": []}, r"goal=\[\]: name a concept"),
        ({"until": "done"}, r"until=done: must be mastered"),
        ({"until": {"val/top1": "high"}}, r"until.val/top1=high: must be a number"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        begun(**options)


def test_a_concept_without_samples_is_named() -> None:
    path = LearningPath(ByClass(), Given(CHAIN), Mastery(), against=None)
    with pytest.raises(UserError, match=r"d has no training sample"):
        path.begin(samples(TARGET[TARGET < 3]))
    few = samples()._replace(validation=Samples(torch.arange(3), torch.arange(3), torch.arange(3)))
    with pytest.raises(UserError, match=r"d has no validation sample"):
        path.begin(few)


def test_a_state_of_other_concepts_is_refused() -> None:
    path, other = begun(), begun(nx.path_graph(NAMES[:3]))
    path.draw(0, 40)
    with pytest.raises(UserError, match=r"began with a concept d, which is not there any more"):
        other.load_state_dict(path.state_dict())
