"""Knowledge graphs: which concepts are near one another, or are needed before others."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from kd_lightning.curricula.curriculum import Samples
from kd_lightning.curricula.path.files import cost_of, read_graph, simple
from kd_lightning.curricula.path.kinds import hierarchy_of, some
from kd_lightning.curricula.path.knowledge import Known
from kd_lightning.curricula.path.planning import COST, WAYPOINT, check_without_cycle
from kd_lightning.errors import UserError

KEY = "curriculum.graph"


class Graph(ABC):
    """Makes the knowledge graph of a training's concepts. One of your own is a subclass.

    `asks` says that it is made of what a source knows of the concepts, whose soft answers have `temperature`.

    Examples:
        >>> import networkx
        >>> from kd_lightning.curricula.path import Graph
        >>> class Chain(Graph):
        ...     def make(self, names, samples, known):
        ...         return networkx.path_graph(names)
        >>> list(Chain().make(["a", "b", "c"], None, None).edges)
        [('a', 'b'), ('b', 'c')]
    """

    asks: bool = False
    temperature: float = 1.0
    prerequisites: bool = False
    """Whether an edge says that its first concept is needed for its second; else it is a step, with a `cost`."""

    @abstractmethod
    def make(self, names: Sequence[str], samples: Samples, known: Known | None) -> Any:
        """A graph of networkx, whose nodes are concepts by these names; edges may have a `cost`, else 1.

        Nodes with a true `waypoint` are no concepts, and are passed through.
        """


class FileGraph(Graph):
    """A graph from a file: node-link JSON, or GraphML, whose nodes are concepts by `label` or `name`, else by their id.

    Edges have a `cost` or a `weight`, 1 where they have none. Those of a directed graph are prerequisites, unless
    `prerequisites` says otherwise. Raises UserError for a file that is none, and for nodes that are no concepts.

    Examples:
        >>> import json, pathlib, tempfile
        >>> from kd_lightning.curricula.path import FileGraph
        >>> links = [{"source": "circles", "target": "spheres", "cost": 0.5}]
        >>> content = {"directed": True, "nodes": [{"id": "circles"}, {"id": "spheres"}], "links": links}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "graph.json"
        ...     _ = path.write_text(json.dumps(content))
        ...     graph = FileGraph(str(path))
        >>> graph.prerequisites, list(graph.make(["circles", "spheres"], None, None).edges)
        (True, [('circles', 'spheres')])
    """

    def __init__(self, path: str | None, prerequisites: bool | None = None) -> None:
        if path is None:
            raise UserError("path=null: give a file, node-link JSON or GraphML")
        self.path = path
        self.graph = checked(read_graph(Path(path)))
        if prerequisites and not self.graph.is_directed():
            raise UserError(
                f"prerequisites=true: the edges of {path} have no direction; make the graph a directed one, or null"
            )
        self.prerequisites = self.graph.is_directed() if prerequisites is None else prerequisites
        if self.prerequisites:
            check_without_cycle(self.graph)

    def make(self, names: Sequence[str], samples: Samples, known: Known | None) -> Any:
        for node, values in self.graph.nodes(data=True):
            if node not in names and not values.get(WAYPOINT):
                raise UserError(
                    f"{KEY}.path={self.path}: node {node} is no concept of the data; there are {some(names)}. Rename "
                    "it, or mark it waypoint=true"
                )
        return self.graph.copy()


class Hierarchy(Graph):
    """The data's own hierarchy as a tree: concepts of a group are `within` of one another, others `between`.

    Concepts are classes of the data's `groups`, or folders, whose groups are the folders above them. Raises UserError
    where there is no hierarchy, and for costs that are negative or no numbers.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula import Samples
        >>> from kd_lightning.curricula.path import Hierarchy
        >>> samples = Samples(torch.arange(3), groups={"animals": ["cat", "dog"], "vehicles": ["car"]})
        >>> graph = Hierarchy(within=1, between=3).make(["cat", "dog", "car"], samples, None)
        >>> [(one, other, graph.edges[one, other]["cost"]) for one, other in list(graph.edges)[:2]]
        [('cat', 'group:animals', 0.5), ('dog', 'group:animals', 0.5)]
    """

    def __init__(self, within: float = 1.0, between: float = 2.0) -> None:
        for name, value in {"within": within, "between": between}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UserError(f"{name}={value}: must be a number from 0 on")
        if between < within:
            raise UserError(f"between={between}: is below within={within}; steps between groups are the larger ones")
        self.within, self.between = float(within), float(between)

    def make(self, names: Sequence[str], samples: Samples, known: Known | None) -> Any:
        graph = nx.Graph()
        graph.add_nodes_from(names)
        for group, members in self.groups(names, samples).items():
            waypoint = f"group:{group}"
            graph.add_node(waypoint, **{WAYPOINT: True})
            graph.add_edges_from(((one, waypoint) for one in members), **{COST: self.within / 2})
        if len(waypoints := [node for node in graph if graph.nodes[node].get(WAYPOINT)]) > 1:
            graph.add_node("group:", **{WAYPOINT: True})
            rest = (self.between - self.within) / 2
            graph.add_edges_from(((one, "group:") for one in waypoints), **{COST: rest})
        return graph

    def groups(self, names: Sequence[str], samples: Samples) -> dict[str, list[str]]:
        """The concepts in each group; one in none makes a group by itself. Raises UserError."""
        if all("/" in name for name in names):
            found: dict[str, list[str]] = {}
            for name in names:
                found.setdefault(name.rpartition("/")[0], []).append(name)
            return found
        known = hierarchy_of(samples, f"{KEY}=hierarchy")
        if not {*names} & {one for members in known.values() for one in members}:
            raise UserError(
                f"{KEY}=hierarchy: none of the concepts ({some(names)}) is a class of the data's groups; take "
                "curriculum/concepts=classes, or graph=teacher"
            )
        in_groups = {group: [one for one in members if one in names] for group, members in known.items()}
        alone = {*names} - {one for members in in_groups.values() for one in members}
        return {group: members for group, members in in_groups.items() if members} | {
            name: [name] for name in names if name in alone
        }


class TeacherGraph(Graph):
    """Found from the teacher: concepts are near whose mean soft answers on validation data are alike.

    The distance of two concepts is the Jensen-Shannon distance, in bits, of their answers softened by `temperature`.
    Clusters by average linkage (`scipy.cluster.hierarchy`) are joined where their nearest concepts are, which makes a
    tree, and each concept besides with its `neighbours` nearest ones. Raises UserError for a temperature or neighbours
    below 0.

    Examples:
        >>> import torch
        >>> from kd_lightning.curricula.path import Known, TeacherGraph
        >>> answers = torch.tensor([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.0, 0.1, 0.9]])
        >>> graph = TeacherGraph(neighbours=0).make(["cat", "dog", "car"], None, Known({}, answers))
        >>> sorted(graph.edges)
        [('cat', 'dog'), ('dog', 'car')]
    """

    asks = True

    def __init__(self, temperature: float = 4.0, neighbours: int = 2) -> None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature > 0:
            raise UserError(f"temperature={temperature}: must be a number above 0")
        if isinstance(neighbours, bool) or not isinstance(neighbours, int) or neighbours < 0:
            raise UserError(f"neighbours={neighbours}: must be a whole number from 0 on")
        self.temperature, self.neighbours = float(temperature), neighbours

    def make(self, names: Sequence[str], samples: Samples, known: Known | None) -> Any:
        assert known is not None
        assert known.answers is not None
        answers = known.answers.double().numpy()
        answers = np.where(np.isnan(answers), 1 / answers.shape[1], answers)  # where validation has no sample
        graph = nx.Graph()
        graph.add_nodes_from(names)
        if len(names) < 2:
            return graph
        # The square of a distance may be below 0 by rounding, where two answers are equal.
        apart = squareform(np.nan_to_num(pdist(answers, "jensenshannon") / math.sqrt(math.log(2))))
        for i, j in [*joined(apart), *nearest(apart, self.neighbours)]:
            graph.add_edge(names[i], names[j], **{COST: float(apart[i, j])})
        return graph


class RandomGraph(Graph):
    """The concepts in a line of which nothing but `seed` decides the order: the control, at the same gate.

    Raises UserError for a seed that is none.

    Examples:
        >>> from kd_lightning.curricula.path import RandomGraph
        >>> sorted(RandomGraph(seed=1).make(["a", "b", "c", "d"], None, None))
        ['a', 'b', 'c', 'd']
    """

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise UserError(f"seed={seed}: must be a whole number from 0 on, of 64 bits")
        self.seed = seed

    def make(self, names: Sequence[str], samples: Samples, known: Known | None) -> Any:
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(self.seed))
        return nx.path_graph([names[place] for place in order.tolist()])


def joined(apart: np.ndarray) -> list[tuple[int, int]]:
    """A tree over all, from distances (K, K): where two clusters of average linkage merge, their nearest members."""
    clusters = {number: [number] for number in range(len(apart))}
    edges = []
    for number, (first, second, *_) in enumerate(linkage(squareform(apart, checks=False), "average"), len(apart)):
        one, other = clusters.pop(int(first)), clusters.pop(int(second))
        between = apart[np.ix_(one, other)]
        i, j = np.unravel_index(int(between.argmin()), between.shape)
        edges.append((one[int(i)], other[int(j)]))
        clusters[number] = one + other
    return edges


def nearest(apart: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Each with its nearest ones, from distances (K, K)."""
    found = []
    for i, row in enumerate(apart):
        others = [j for j in np.argsort(row, kind="stable").tolist() if j != i]
        found += [(i, j) for j in others[:count]]
    return found


def checked(graph: Any) -> Any:
    """A graph with a `cost` on each edge; of several edges between two nodes the cheapest.

    Raises UserError for one that is none, or has costs that are none.
    """
    if not isinstance(graph, nx.Graph):
        raise UserError(f"{KEY}: makes {type(graph).__name__}; give a graph of networkx")
    if not len(graph):
        raise UserError(f"{KEY}: has no nodes; give it the concepts")
    if graph.is_multigraph():
        return simple(graph)
    for one, other, values in graph.edges(data=True):
        values[COST] = cost_of(one, other, values)
    return graph
