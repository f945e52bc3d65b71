"""The curriculum of a learning path: one concept after the other, each until it is mastered, and all at the end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kd_lightning.curricula.concepts import Concepts
from kd_lightning.curricula.curriculum import Account, Curriculum, Samples
from kd_lightning.curricula.path.gates import Assessed, Gate
from kd_lightning.curricula.path.graphs import Graph, checked
from kd_lightning.curricula.path.kinds import ConceptKind, some
from kd_lightning.curricula.path.knowledge import known_of, surest
from kd_lightning.curricula.path.planning import COST, WAYPOINT
from kd_lightning.curricula.path.until import Until
from kd_lightning.curricula.path.walk import Walk
from kd_lightning.errors import UserError
from kd_lightning.schedules.length import unlimited
from kd_lightning.schedules.progress import ROUNDING, Assessment

AGAINST = "teacher"


class LearningPath(Curriculum):
    """Teaches concepts along a path through their knowledge graph, as assessments on validation data open its gates.

    Each epoch teaches one concept, and with `review` of its samples what is mastered already. The gate opens the next
    one by the student's accuracy beside that of `against`; else it is taught again, and after `patience` epochs what
    comes right before it is taught anew, and the path planned again. Once all goals are mastered, and in any case for
    the last part, `finish`, of the training, epochs hold all samples. They are as long as without a curriculum.

    Args:
        concepts: which there are.
        graph: what leads to what.
        gate: when a concept counts as mastered.
        goal: the concept, or several, that the path leads to; None: all of the graph.
        start: where it begins while nothing is mastered; None: with what `against` knows best. What that is never right
            on is skipped. Not of a graph of prerequisites, where what needs nothing comes first.
        review: the share of an epoch that goes over what is mastered.
        patience: so many epochs a concept is taught before its prerequisites are reopened.
        finish: the part of the training that ends it on all samples.
        until: `mastered`, all goals, or values of metrics such as {val/top1: 0.95}: the training ends when that holds,
            and the last part, `finish`, was on all samples. None: at the trainer's limit.
        against: the source that the student is compared with; None: with nothing, its accuracy itself counts.

    Raises UserError for values that cannot be, and as the training begins for concepts, goals or a start that are not
    there, and for validation data that lack a concept.

    Examples:
        >>> import networkx, torch
        >>> from kd_lightning.curricula import Assessment, Samples
        >>> from kd_lightning.curricula.path import ByClass, Graph, LearningPath, Mastery
        >>> class Chain(Graph):
        ...     def make(self, names, samples, known):
        ...         return networkx.path_graph(names)
        >>> path = LearningPath(ByClass(), Chain(), Mastery(0.9), start="a", review=0.5, finish=0, against=None)
        >>> target = torch.tensor([0, 1, 2, 0, 1, 2])
        >>> samples = Samples(torch.arange(6), target, target, classes=["a", "b", "c"])
        >>> path.begin(samples._replace(validation=samples))
        >>> sorted(target[path.draw(epoch=0, count=6)].tolist())
        [0, 0, 0, 0, 0, 0]
        >>> path.assess(Assessment(0, {}, by_concept={"a": 0.95, "b": 0.0, "c": 0.0}))
        >>> sorted(target[path.draw(epoch=1, count=6)].tolist())
        [0, 0, 0, 1, 1, 1]
    """

    def __init__(
        self,
        concepts: ConceptKind,
        graph: Graph,
        gate: Gate,
        *,
        goal: str | int | Sequence[str | int] | None = None,
        start: str | int | None = None,
        review: float = 0.5,
        patience: int = 3,
        finish: float = 0.2,
        until: str | Mapping[str, float] | None = None,
        against: str | None = AGAINST,
    ) -> None:
        for name, value in {"review": review, "finish": finish}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UserError(f"{name}={value}: must be a share, from 0 to 1")
        if review == 1:
            raise UserError("review=1: would leave nothing of an epoch to the concept that is taught; give less")
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise UserError(f"patience={patience}: must be a whole number of epochs, from 1 on")
        goals = [] if goal is None else [goal] if isinstance(goal, str | int) else [*goal]
        if goal is not None and not goals:
            raise UserError("goal=[]: name a concept, or give null for all of the graph")
        if start is not None and graph.prerequisites:
            raise UserError(
                f"start={start}: the graph's edges are prerequisites, and what needs nothing comes first; give null"
            )
        if against is None and graph.asks:
            raise UserError(
                "against=null: the graph is made of a teacher's answers; name it, or take curriculum/graph=file or "
                "hierarchy"
            )
        self.kind, self.maker, self.gate = concepts, graph, gate
        self.goal = [str(one) for one in goals] or None
        self.start = None if start is None else str(start)
        self.review, self.patience, self.finish = review, patience, finish
        self.until = None if until is None else Until(until)
        self.awaits = None if until is None else f"curriculum.until={self.until}"
        self.against = against
        self.asks = () if against is None else (f"{against}.logits", "target")

    def begin(self, samples: Samples) -> None:
        if samples.validation is None:
            raise UserError("curriculum: a learning path is assessed on validation data, and there are none; give some")
        self.found = self.kind.of(samples)
        self.members, self.total = members_of(self.found, samples.validation), len(samples.index)
        self.known = None
        if self.against is not None:
            temperature = self.maker.temperature if self.maker.asks else None
            self.known = known_of(samples.validation, self.found, f"{self.against}.logits", temperature)
        self.knowledge = checked(self.maker.make(self.found.names, samples, self.known))
        self.walk = self._set_off()
        self.latest: dict[str, float] = {}
        self.is_assessed = self.is_met = self.takes_all = False
        self.drawn_of_all = self.drawn = self.drawn_epochs = 0  # samples: in epochs of all of them, and in all epochs
        self.share = 0.0

    def concepts_to_assess(self) -> Concepts:
        return self.found

    def _set_off(self) -> Walk:
        """Plan the path before anything was taught. Raises UserError for what is not there."""
        nodes = [node for node, values in self.knowledge.nodes(data=True) if not values.get(WAYPOINT)]
        for node in nodes:
            if node not in self.members:
                raise UserError(
                    f"curriculum.graph: node {node} is no concept of the data; there are {some(self.found.names)}"
                )
        goals = nodes if self.goal is None else self.goal
        for key, names in {"goal": goals, "start": [] if self.start is None else [self.start]}.items():
            for name in names:
                if name not in nodes:
                    raise UserError(f"curriculum.{key}={name}: is no concept of the graph; there are {some(nodes)}")
        first = self.start
        if first is None and not self.maker.prerequisites:
            first = nodes[0] if self.known is None else surest(nodes, self.known, self.found)
        walk = Walk(self.knowledge, goals, first, self.maker.prerequisites, self.gate, self.patience)
        unknown = [] if self.known is None else [name for name in nodes if self.known.accuracy[name] == 0]
        walk.begin(unknown, f"the {self.against} is never right on it")
        return walk

    def assess(self, results: Assessment) -> None:
        self.latest = {name: value for name, value in results.by_concept.items() if not math.isnan(value)}
        self.is_assessed = True
        if self.until is not None:
            self.is_met = self.until.holds(results, all(self._masters(name) for name in self.walk.goals))

    def _masters(self, name: str) -> bool:
        """Whether the gate of a concept opens by the last assessment."""
        walk = self.walk
        epochs = walk.tried if name == walk.current else self.drawn_epochs if name in walk.mastered else 0
        return self.gate.opens(self._assessed(name, epochs))

    def _assessed(self, name: str, epochs: int) -> Assessed:
        against = None if self.known is None else self.known.accuracy[name]
        return Assessed(name, self.latest.get(name, math.nan), against, epochs)

    def finished(self) -> str | None:
        is_over = self.drawn_of_all >= self.finish * self.drawn
        return f"{self.awaits} holds" if self.is_met and is_over else None

    def draw(self, epoch: int, count: int) -> Tensor:
        self._decide(is_first=epoch == 0)
        current = self.walk.current
        if self.takes_all or current is None:
            taught, reviewed = torch.arange(self.total), []
            self.drawn_of_all += count
        else:
            taught, reviewed = self.members[current], [self.members[name] for name in self.walk.mastered]
            self.walk.tried += 1
        known = torch.cat(reviewed) if reviewed else torch.empty(0, dtype=torch.int64)
        again = round(self.review * count) if len(known) else 0
        self.drawn += count
        self.drawn_epochs += 1
        self.share = (len(taught) + (len(known) if again else 0)) / self.total
        drawn = torch.cat([gone_through(taught, count - again), gone_through(known, again)])
        return drawn[torch.randperm(len(drawn))]

    def _decide(self, is_first: bool) -> None:
        """What the epoch that begins teaches. Raises UserError where nobody knows when the training ends."""
        walk = self.walk
        if not is_first:
            walk.decisions = []
        if self.finish > 0 and self.until is None and self.next_progress.fraction == 0:
            raise UserError(unlimited(f"curriculum.finish={self.finish} is a share of it"))
        if self.is_assessed and not self.takes_all:
            self.is_assessed = False
            walk.judge(self._assessed)
        if self.takes_all:
            return
        reason = None
        if walk.current is None:
            reason = "all goals are mastered"
        elif self.is_met:
            reason = f"{self.awaits} holds"
        elif self.next_progress.fraction > 1 - self.finish + ROUNDING:
            reason = f"the last {self.finish:.0%} of the training begins, before {walk.current} is mastered"
        if reason is not None:
            self.takes_all = True
            walk.decisions.append(f"from now on all samples: {reason}")

    def account(self) -> Account:
        walk = self.walk
        mastered = sum(name in walk.mastered for name in walk.goals) / len(walk.goals)
        return Account(
            values={"share": self.share, "mastered": mastered},
            concepts=dict(self.latest),
            teaches=[*self.members] if self.takes_all or walk.current is None else [walk.current],
            decisions=[*walk.decisions],
        )

    def graph(self) -> dict[str, Any]:
        """Node-link data, in which each concept has the accuracy of what the student is compared with, `against`."""
        known = {} if self.known is None else self.known.accuracy
        told = {name: {"against": value} for name, value in known.items() if not math.isnan(value)}
        return {
            "directed": self.knowledge.is_directed(),
            "multigraph": False,
            "graph": {"prerequisites": self.maker.prerequisites},
            "nodes": [{**told.get(node, {}), **values, "id": node} for node, values in self.knowledge.nodes(data=True)],
            "edges": [
                {"source": one, "target": other, COST: float(values[COST])}
                for one, other, values in self.knowledge.edges(data=True)
            ],
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "walk": self.walk.state_dict(),
            "latest": dict(self.latest),
            "is": [self.is_assessed, self.is_met, self.takes_all],
            "drawn": [self.drawn_of_all, self.drawn, self.drawn_epochs],
            "share": self.share,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError where the training began with concepts that are not there any more."""
        self.walk.load_state_dict(state["walk"])
        for name in [*self.walk.mastered, *(step.concept for step in self.walk.steps)]:
            if name not in self.knowledge:
                raise UserError(
                    f"curriculum.graph: the training began with a concept {name}, which is not there any more; give it "
                    "the concepts and the graph that it began with"
                )
        self.latest, self.share = dict(state["latest"]), state["share"]
        self.is_assessed, self.is_met, self.takes_all = state["is"]
        self.drawn_of_all, self.drawn, self.drawn_epochs = state["drawn"]


def members_of(concepts: Concepts, validation: Samples) -> dict[str, Tensor]:
    """The training samples of each concept, int64 positions. Raises UserError for one without, in validation either."""
    of_samples, validated = concepts.of_samples.cpu(), concepts.in_validation(validation.target, validation.index)
    found = {name: (of_samples == k).nonzero()[:, 0] for k, name in enumerate(concepts.names)}
    for k, (name, members) in enumerate(found.items()):
        if not len(members):
            raise UserError(f"curriculum.concepts: {name} has no training sample; leave it out, or add some")
        if not bool((validated == k).any()):
            raise UserError(
                f"curriculum.concepts: {name} has no validation sample, on which it could be assessed; take a larger "
                "data.val_fraction, or larger concepts"
            )
    return found


def gone_through(positions: Tensor, count: int) -> Tensor:
    """So many of these positions, each as often as any other or once more, in random order: int64 (count,)"""
    if not count:
        return positions[:0]
    rounds = -(-count // len(positions))
    return torch.cat([positions[torch.randperm(len(positions))] for _ in range(rounds)])[:count]
