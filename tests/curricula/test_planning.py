"""The path through a knowledge graph, compared with what networkx and brute force find on random graphs."""

import itertools
import random
from typing import Any

import networkx as nx
import pytest

from kd_lightning.curricula.path import plan
from kd_lightning.errors import UserError


def costs_of(graph: nx.Graph, path: list[str]) -> float:
    return sum(graph.edges[pair]["cost"] for pair in itertools.pairwise(path))


def a_random_graph(seed: int, directed: bool = False) -> nx.Graph:
    chance = random.Random(seed)
    found = nx.gnp_random_graph(9, 0.35, seed=seed, directed=directed)
    graph = nx.relabel_nodes(found, {node: f"n{node}" for node in found})
    for edge in graph.edges:
        graph.edges[edge]["cost"] = chance.randint(1, 20)
    return graph


@pytest.mark.parametrize("directed", [False, True])
def test_to_one_goal_it_is_the_shortest_path(directed: bool) -> None:
    found = 0
    for seed in range(60):
        graph = a_random_graph(seed, directed)
        chance = random.Random(seed)
        mastered, goal = chance.sample(sorted(graph), 2), "n8"
        mastered = [name for name in mastered if name != goal]
        lengths = [
            nx.bellman_ford_path_length(graph, one, goal, weight="cost")
            for one in mastered
            if nx.has_path(graph, one, goal)
        ]
        if not lengths:
            with pytest.raises(UserError, match=r"curriculum.goal: no path of the graph leads from .* to n8"):
                plan(graph, mastered, [goal], start=mastered[0])
            continue
        steps = plan(graph, mastered, [goal])
        path = [steps[0].after[0], *(step.concept for step in steps)]
        assert path[0] in mastered
        assert path[-1] == goal
        assert [step.after for step in steps[1:]] == [(one,) for one in path[1:-1]]
        assert costs_of(graph, path) == min(lengths)
        found += 1
    assert found > 30


def test_to_several_goals_the_nearest_one_comes_next() -> None:
    for seed in range(40):
        graph = a_random_graph(seed)
        if not nx.is_connected(graph):
            continue
        steps = plan(graph, [], sorted(graph), start="n0")
        assert sorted(step.concept for step in steps) == sorted(graph)
        reached = ["n0"]
        for step in steps[1:]:  # Prim's rule, on distances that an independent algorithm gives
            lengths = dict(nx.floyd_warshall(graph, weight="cost"))
            nearest = min(lengths[one][other] for one in reached for other in graph if other not in reached)
            assert step.after[0] in reached
            assert graph.edges[step.after[0], step.concept]["cost"] == nearest
            reached.append(step.concept)


def test_waypoints_are_passed_through() -> None:
    graph = nx.Graph()
    graph.add_weighted_edges_from([("a", "w", 1), ("w", "b", 1), ("a", "c", 3), ("c", "b", 3)], weight="cost")
    graph.nodes["w"]["waypoint"] = True
    assert [(step.concept, step.after) for step in plan(graph, ["a"], ["b"])] == [("b", ("a",))]


def test_waypoints_between_prerequisites_are_no_steps() -> None:
    graph = nx.DiGraph([("a", "w"), ("w", "v"), ("v", "b"), ("w", "b"), ("c", "b"), ("b", "d")])
    graph.add_nodes_from(["w", "v"], waypoint=True)
    steps = plan(graph, [], ["d"], prerequisites=True)
    assert {step.concept: step.after for step in steps} == {"a": (), "c": (), "b": ("a", "c"), "d": ("b",)}
    assert [step.concept for step in plan(graph, ["a", "c"], ["d"], prerequisites=True)] == ["b", "d"]


def test_a_path_sets_off_from_its_start_and_not_from_what_is_skipped() -> None:
    def planned(*args: Any, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
        return [(step.concept, step.after) for step in plan(graph, *args, skipped=["d"], **more)]

    graph = nx.path_graph(["a", "b", "c", "d", "e"])
    onwards = [("b", ("a",)), ("c", ("b",)), ("e", ("c",))]
    assert planned(["d"], [*graph], start="a") == [("a", ()), *onwards]
    assert planned(["d", "a"], [*graph], start="a") == onwards
    assert planned(["d"], ["e"], start="d") == [("e", ("d",))]
    assert planned(["d"], ["d"], start="a") == []


def test_prerequisites_come_in_a_topological_order_of_what_is_needed_alone() -> None:
    for seed in range(40):
        chance = random.Random(seed)
        found = a_random_graph(seed, directed=True)
        graph = nx.DiGraph((one, other, values) for one, other, values in found.edges(data=True) if one < other)
        graph.add_nodes_from(found)
        goals, mastered = ["n8", "n5"], [name for name in sorted(graph) if chance.random() < 0.2]
        steps = plan(graph, mastered, goals, prerequisites=True)
        order = [step.concept for step in steps]
        kept = graph.subgraph([name for name in graph if name not in mastered])
        needed = {one for goal in goals if goal in kept for one in (goal, *nx.ancestors(kept, goal))}
        assert {*order} == needed
        for one, other in graph.edges:
            if one in needed and other in needed:
                assert order.index(one) < order.index(other)
        assert all({*step.after} == {*graph.predecessors(step.concept)} for step in steps)


def test_of_several_orders_the_cheap_edges_come_first() -> None:
    graph = nx.DiGraph()
    graph.add_weighted_edges_from([("a", "b", 3.0), ("a", "c", 1.0), ("b", "d", 1.0), ("c", "d", 1.0)], weight="cost")
    assert [step.concept for step in plan(graph, [], ["d"], prerequisites=True)] == ["a", "c", "b", "d"]


def test_a_cycle_is_named() -> None:
    graph = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "b")])
    with pytest.raises(UserError, match=r"go in a circle, b → c → b; remove one"):
        plan(graph, [], ["c"], prerequisites=True)
