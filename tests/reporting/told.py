"""What curricula may have told: walks along the graphs of ten and of a hundred concepts."""

import itertools
from pathlib import Path
from typing import Any

from kd_lightning.runs.files import CURRICULUM
from kd_lightning.system.files import write_json


def chain(names: list[str]) -> list[tuple[str, str]]:
    return [*itertools.pairwise(names)]


def walk(order: list[str], graph: dict[str, Any] | None, finish: int = 2) -> dict[str, Any]:
    """One concept an epoch in an order, which are then known to a half; and the last epochs all of them."""
    known = dict.fromkeys(order, 0.0)
    epochs = []
    for number in range(len(order) + finish):
        teaches = order[number : number + 1] or order
        known |= dict.fromkeys(teaches, 0.5 if len(teaches) == 1 else 0.75)
        decisions = [f"{teaches[0]} is opened, for what comes before is mastered"] if len(teaches) == 1 else []
        values = {"share": min(1.0, (number + 1) / len(order)), "difficulty": 2.0 - number / len(order)}
        told = {"values": values, "concepts": dict(known), "teaches": teaches, "decisions": decisions}
        epochs.append({"epoch": number, **told})
    return {"curriculum": "Walking", "epochs": epochs, "graph": graph}


def graph_of(
    edges: list[tuple[str, str]], *, directed: bool = False, waypoints: tuple[str, ...] = ()
) -> dict[str, Any]:
    names = dict.fromkeys(name for edge in edges for name in edge)
    nodes = [{"id": name, **({"waypoint": True} if name in waypoints else {})} for name in names]
    return {
        "directed": directed,
        "nodes": nodes,
        "edges": [{"source": one, "target": other, "cost": 1.0} for one, other in edges],
    }


def hierarchy(groups: int, members: int) -> dict[str, Any]:
    """Groups of concepts around a root."""
    edges = [(f"concept {g}.{m}", f"group:{g}") for g in range(groups) for m in range(members)]
    edges += [(f"group:{g}", "group:") for g in range(groups)]
    return graph_of(edges, waypoints=("group:", *(f"group:{g}" for g in range(groups))))


def concepts_of(graph: dict[str, Any]) -> list[str]:
    return [node["id"] for node in graph["nodes"] if not node.get("waypoint")]


def branching(count: int) -> dict[str, Any]:
    """A tree of concepts, each with up to three behind it, and a way round between neighbours."""
    names = [f"concept {number}" for number in range(count)]
    edges = [(names[(number - 1) // 3], names[number]) for number in range(1, count)]
    return graph_of(edges + [(names[number], names[number + 1]) for number in range(1, count - 1, 4)])


def write(folder: Path, told: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CURRICULUM, told)
    return folder
