"""curriculum.json: what a run's curriculum told of each epoch, read as if somebody else had written it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kd_lightning.runs.files import CURRICULUM
from kd_lightning.system.records import NONE, NUMBER, Each, sound_record

NUMBERS = Each((*NUMBER, NONE))
NODE, EDGE = Each(object, {"id": object}), Each(object, {"source": object, "target": object})
SHAPE = {
    "curriculum": str,
    "epochs": [{"epoch": int, "values": NUMBERS, "concepts": NUMBERS, "teaches": [str], "decisions": [str]}],
    "graph": (Each(object, {"nodes": [NODE], "edges": [EDGE]}), NONE),
}


class Epoch(NamedTuple):
    """What was told of an epoch, which counts from 0; concepts as they were measured at its end."""

    epoch: int
    values: Mapping[str, float | None]
    concepts: Mapping[str, float | None]
    teaches: Sequence[str]
    decisions: Sequence[str]


class Node(NamedTuple):
    """A concept of the knowledge graph; one that is a waypoint is none, and only leads from one to another.

    `against` is the accuracy that the concept's own is compared with, where there is one.
    """

    name: str
    is_waypoint: bool = False
    against: float | None = None


class Edge(NamedTuple):
    source: str
    target: str
    cost: float = 1.0


@dataclass(frozen=True)
class Told:
    """What a curriculum told of each epoch, and its knowledge graph, which has no nodes where there is none."""

    curriculum: str
    epochs: Sequence[Epoch]
    nodes: Sequence[Node] = ()
    edges: Sequence[Edge] = ()
    directed: bool = False
    among: Sequence[str] = field(default=())

    @cached_property
    def concepts(self) -> list[str]:
        """Those that were taught in the order in which they were first, then all others."""
        taught = [name for one in self.epochs for name in one.teaches]
        measured = [name for one in self.epochs for name in one.concepts]
        return [*dict.fromkeys([*self.path, *taught, *measured, *self.among])]

    @cached_property
    def path(self) -> list[str]:
        """The concepts in the order in which they were opened.

        What comes with everything else at once, as a curriculum may end on all samples, was not opened for itself.
        """
        every = {name for one in self.epochs for name in (*one.teaches, *one.concepts)} | {*self.among}
        found: dict[str, None] = {}
        for one in self.epochs:
            new = [name for name in one.teaches if name not in found]
            if len(new) == 1 or {*one.teaches} != every:
                found |= dict.fromkeys(new)
        return [*found]

    @property
    def taught(self) -> list[tuple[int, str]]:
        """Each epoch with each concept that it taught, but for epochs that taught them all."""
        return [
            (one.epoch, name) for one in self.epochs if len(one.teaches) < len(self.concepts) for name in one.teaches
        ]

    @property
    def latest(self) -> dict[str, float]:
        """The accuracy of each concept as it was measured last."""
        return {name: value for one in self.epochs for name, value in one.concepts.items() if value is not None}


def read_curriculum(folder: Path) -> Told | None:
    """What the curriculum of the run in a folder told; None where it had none, and with a warning for damage."""
    record = sound_record(folder / CURRICULUM, SHAPE, "what the curriculum told is left out")
    if record is None:
        return None
    graph: dict[str, Any] = record["graph"] or {"nodes": [], "edges": []}
    nodes = [Node(str(one["id"]), one.get("waypoint") is True, number(one.get("against"))) for one in graph["nodes"]]
    known = {one.name for one in nodes}
    edges = [
        Edge(str(one["source"]), str(one["target"]), number(one.get("cost")) or 0.0)
        for one in graph["edges"]
        if {str(one["source"]), str(one["target"])} <= known
    ]
    epochs = [Epoch(**{name: one[name] for name in Epoch._fields}) for one in record["epochs"]]
    among = [one.name for one in nodes if not one.is_waypoint]
    return Told(record["curriculum"], epochs, nodes, edges, graph.get("directed") is True, among)


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
