"""The path through a knowledge graph: from what is mastered to the goals."""

import heapq
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import networkx as nx

from kd_lightning.errors import UserError

COST, WAYPOINT = "cost", "waypoint"


class Step(NamedTuple):
    """A concept to teach, and those that come right before it: its prerequisites, or where its edge comes from.

    Examples:
        >>> from kd_lightning.curricula.path import Step
        >>> Step("calculus", ("algebra",)).after
        ('algebra',)
    """

    concept: str
    after: tuple[str, ...] = ()


def plan(
    graph: Any,
    mastered: Collection[str],
    goals: Sequence[str],
    start: str | None = None,
    prerequisites: bool = False,
    skipped: Collection[str] = (),
) -> list[Step]:
    """What is to be taught, in order, until all goals are mastered.

    Of a graph whose edges are prerequisites the goals and all that they need, in a topological order, cheap edges
    first. Else the shortest path by the edges' costs (Dijkstra 1959) from what is mastered to the nearest goal that is
    not, and from there on to the next; where nothing is mastered it begins with `start`. Nodes with a true `waypoint`
    are passed through, and not taught; so are concepts that are `skipped`, mastered or not.

    Raises UserError for prerequisites that go in a circle, and for a goal that no path leads to.

    Examples:
        >>> import networkx
        >>> from kd_lightning.curricula.path import plan
        >>> graph = networkx.Graph()
        >>> graph.add_weighted_edges_from([("a", "b", 1), ("b", "c", 1), ("a", "c", 3)], weight="cost")
        >>> [step.concept for step in plan(graph, mastered={"a"}, goals=["c"])]
        ['b', 'c']
    """
    if prerequisites:
        return in_topological_order(graph, mastered, goals)
    goals = [goal for goal in goals if goal not in skipped]
    reached, steps = {*mastered} - {*skipped}, []
    if goals and (not reached or not is_reached_from(graph, reached, goals)):
        if start is None:
            raise UserError("curriculum.start=null: nothing is mastered yet, and the path has no beginning; give one")
        if start not in reached:
            steps += [Step(start)] if start not in skipped else []
            reached.add(start)
    while missing := {goal for goal in goals if goal not in reached}:
        sources = [node for node in graph if node in reached]  # in the graph's order, which decides between equals
        path = shortest_path(graph, sources, missing)
        if path is None:
            raise unreachable(next(goal for goal in goals if goal in missing), sources)
        passed = [node for node in path[1:] if not graph.nodes[node].get(WAYPOINT) and node not in skipped]
        taught = [path[0], *passed]
        steps += [Step(concept, (before,)) for before, concept in itertools.pairwise(taught)]
        reached.update(taught)
    return steps


def shortest_path(graph: Any, sources: Iterable[str], goals: Collection[str]) -> list[str] | None:
    """From one of the sources to the nearest of the goals, by the edges' costs (Dijkstra 1959), or None."""
    order = itertools.count()  # of equal distances the one that was found first
    pending: list[tuple[float, int, str, str | None]] = [(0.0, next(order), source, None) for source in sources]
    before: dict[str, str | None] = {}
    while pending:
        distance, _, node, previous = heapq.heappop(pending)
        if node in before:
            continue
        before[node] = previous
        if node in goals:
            path = [node]
            while (last := before[path[-1]]) is not None:
                path.append(last)
            return path[::-1]
        for other, values in graph.adj[node].items():
            if other not in before:
                heapq.heappush(pending, (distance + values.get(COST, 1.0), next(order), other, node))
    return None


def is_reached_from(graph: Any, sources: Iterable[str], goals: Iterable[str]) -> bool:
    """Whether paths lead from some of the sources to all goals."""
    found = {*sources}
    pending = [*found]
    while pending:
        others = [other for other in graph.adj[pending.pop()] if other not in found]
        found.update(others)
        pending += others
    return found >= {*goals}


def unreachable(goal: str, sources: Sequence[str]) -> UserError:
    begins = ", ".join(sources[:3]) + (", …" if len(sources) > 3 else "")
    return UserError(
        f"curriculum.goal: no path of the graph leads from {begins} to {goal}; connect it, choose another start, or "
        "name goals that can be reached"
    )


def in_topological_order(graph: Any, mastered: Collection[str], goals: Sequence[str]) -> list[Step]:
    """The goals and what they need, but for what is mastered and what that needs. Raises UserError for a cycle."""
    check_without_cycle(graph)
    needed: set[str] = set()
    pending = [goal for goal in goals if goal not in mastered]
    while pending:
        concept = pending.pop()
        if concept not in needed:
            needed.add(concept)
            pending += [one for one in graph.predecessors(concept) if one not in mastered]
    places = {node: place for place, node in enumerate(graph.nodes)}

    def first(node: str) -> tuple[float, int]:
        costs = [graph.edges[before, node].get(COST, 1.0) for before in graph.predecessors(node)]
        return max(costs, default=0.0), places[node]

    order = nx.lexicographical_topological_sort(graph.subgraph(needed), key=first)
    return [Step(node, concepts_before(graph, node)) for node in order if not graph.nodes[node].get(WAYPOINT)]


def concepts_before(graph: Any, node: str) -> tuple[str, ...]:
    """The nearest concepts that a node needs: its predecessors, and instead of a waypoint those before that one."""
    found: dict[str, None] = {}  # a set that keeps its order
    seen: set[str] = set()
    pending = [*graph.predecessors(node)][::-1]
    while pending:
        if (before := pending.pop()) in seen:
            continue
        seen.add(before)
        if graph.nodes[before].get(WAYPOINT):
            pending += [*graph.predecessors(before)][::-1]
        else:
            found[before] = None
    return tuple(found)


def check_without_cycle(graph: Any) -> None:
    """Raise UserError for prerequisites that go in a circle, naming it."""
    try:
        cycle = nx.find_cycle(graph)
    except nx.NetworkXNoCycle:
        return
    nodes = [edge[0] for edge in cycle]
    raise UserError(
        f"curriculum.graph: its prerequisites go in a circle, {' → '.join(map(str, [*nodes, nodes[0]]))}; remove one "
        "of these edges, or set curriculum.graph.prerequisites=false"
    )
