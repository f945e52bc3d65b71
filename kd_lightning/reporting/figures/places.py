"""Where the nodes of a graph are drawn: what is near is drawn near, prerequisites go from left to right."""

from collections.abc import Collection
from itertools import accumulate
from typing import Any

import networkx as nx

SETTLED = 250  # nodes; of more, places are found by springs, which take less time
COLUMNS = 14  # of prerequisites; with more of them these are drawn as any other graph
FEW, SOME = 25, 60  # nodes, of which a figure is low, and less high
ROW = 24  # pixels between the leaves of a tree
Place = tuple[float, float]


def placed(known: Any, concepts: Collection[str], width: float) -> dict[str, Place]:
    """A place in pixels for each node of a graph."""
    if is_hierarchy(known, concepts):
        return on_two_sides(known, width)
    height = 420 if len(known) <= FEW else 640 if len(known) <= SOME else 900
    columns = layers(known)
    places = near_what_is_near(known) if columns is None else in_columns(known, columns)
    return {name: (x * width, y * height) for name, (x, y) in places.items()}


def is_hierarchy(known: Any, concepts: Collection[str]) -> bool:
    """Whether all concepts are leaves of a tree."""
    return not known.is_directed() and nx.is_tree(known) and all(known.degree[name] == 1 for name in concepts)


def on_two_sides(tree: Any, width: float) -> dict[str, Place]:
    """A tree around its root in the middle, half of the leaves on each side, one below the other."""
    root = nx.center(tree)[0]
    below = nx.dfs_tree(tree, root)
    branches = [*below.successors(root)]
    leaves = {
        one: [name for name in nx.dfs_preorder_nodes(below, one) if not below.out_degree(name)] for one in branches
    }
    sums = [*accumulate(len(leaves[one]) for one in branches)]
    sides = [-1 if 2 * total - len(leaves[one]) < sums[-1] else 1 for one, total in zip(branches, sums, strict=True)]
    depth = max(nx.single_source_shortest_path_length(below, root).values())
    places: dict[str, Place] = {}
    for side in (-1, 1):
        own = [one for one, on in zip(branches, sides, strict=True) if on == side]
        names = [name for one in own for name in leaves[one]]
        heights = {name: (len(names) / 2 - place - 0.5) * ROW for place, name in enumerate(names)}
        for one in own:
            for name in nx.dfs_postorder_nodes(below, one):
                inner = [heights[child] for child in below.successors(name)]
                heights[name] = sum(inner) / len(inner) if inner else heights[name]
                steps = nx.shortest_path_length(below, root, name) if inner else depth
                places[name] = ((0.5 + side * 0.3 * steps / depth) * width, heights[name])
    return {**places, root: (0.5 * width, 0.0)}


def layers(known: Any) -> list[list[str]] | None:
    """Nodes by how many stand before them at most; None where edges lead no way, in circles, or too far."""
    if not known.is_directed() or not nx.is_directed_acyclic_graph(known):
        return None
    found = [[*one] for one in nx.topological_generations(known)]
    return found if len(found) <= COLUMNS else None


def in_columns(known: Any, columns: list[list[str]]) -> dict[str, Place]:
    """Each node right of all that it needs, in its column near the mean height of these and of what needs it."""
    heights = {name: (row + 0.5) / len(one) for one in columns for row, name in enumerate(one)}
    for sweep in range(8):
        beside = known.predecessors if sweep % 2 == 0 else known.successors
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wanted = {}
            for name in column:
                near = [heights[other] for other in beside(name)]
                wanted[name] = sum(near) / len(near) if near else heights[name]
            column.sort(key=wanted.__getitem__)
            heights |= {name: (row + 0.5) / len(column) for row, name in enumerate(column)}
    across = max(1, len(columns) - 1)
    return {name: (place / across, 1 - heights[name]) for place, one in enumerate(columns) for name in one}


def near_what_is_near(known: Any) -> dict[str, Place]:
    """From 0 to 1: parts side by side, each by Kamada, Kawai 1989, doi:10.1016/0020-0190(89)90102-6."""
    either_way = known.to_undirected()
    parts = sorted(nx.connected_components(either_way), key=len, reverse=True)
    joined, alone = [one for one in parts if len(one) > 1], [name for one in parts if len(one) == 1 for name in one]
    places = {name: ((place + 0.5) / len(alone), 0.0) for place, name in enumerate(alone)}
    floor, whole = 0.12 if alone else 0.0, sum(len(one) ** 0.5 for one in joined)
    left = 0.0
    for part in joined:
        share = len(part) ** 0.5 / whole
        inside = either_way.subgraph([name for name in known if name in part])
        found = (
            nx.kamada_kawai_layout(inside, weight=None) if len(part) <= SETTLED else nx.spring_layout(inside, seed=0)
        )
        across, up = ([float(place[axis]) for place in found.values()] for axis in (0, 1))
        for name, (x, y) in found.items():
            places[name] = (left + share * (0.05 + 0.9 * within(x, across)), floor + (1 - floor) * within(y, up))
        left += share
    return places


def within(value: float, values: list[float]) -> float:
    """Where a value lies between the smallest and the largest, from 0 to 1."""
    low, high = min(values), max(values)
    return 0.5 if high - low < 1e-9 else (float(value) - low) / (high - low)
