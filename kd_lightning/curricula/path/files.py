"""Knowledge graphs in files, read by networkx: node-link JSON and GraphML."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from kd_lightning.errors import UserError

EDGES = ("links", "edges")  # what JSON has them under, by the version of networkx that wrote it
NAMES = ("label", "name")
FORM = "give node-link JSON, {nodes: [{id: …}, …], links: [{source: …, target: …}, …]}"


def read_graph(path: Path) -> Any:
    """A graph by the names of its nodes; of several edges between two nodes the cheapest. Raises UserError."""
    key = f"path={path}"
    try:
        graph = nx.read_graphml(path) if path.suffix.lower() in (".graphml", ".xml") else from_json(path, key)
    except OSError as error:
        raise UserError(f"{key}: {error.strerror or error}; give a file that can be read") from error
    except UserError:
        raise
    except Exception as error:  # whatever the parsers raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{key}: is no graph ({reason}); give node-link JSON or GraphML") from error
    named = {node: name_of(node, values) for node, values in graph.nodes(data=True)}
    seen: set[str] = set()
    for name in named.values():
        if name in seen:
            raise UserError(f"{key}: has the node {name} twice; give each concept one")
        seen.add(name)
    if not named:
        raise UserError(f"{key}: has no nodes; give it the concepts")
    return simple(nx.relabel_nodes(graph, named))


def from_json(path: Path, key: str) -> Any:
    """A graph of node-link JSON, whichever version of networkx wrote it. Raises UserError."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        raise UserError(f"{key}: has no list of nodes; {FORM}")
    edges = next((content[name] for name in EDGES if name in content), None)
    if not isinstance(edges, list):
        raise UserError(f"{key}: has no list of links; {FORM}")
    ids = {node.get("id") for node in content["nodes"] if isinstance(node, dict)}
    for edge in edges:
        for end in ("source", "target"):
            if not isinstance(edge, dict) or edge.get(end) not in ids:
                raise UserError(f"{key}: link {json.dumps(edge)} has a {end} that is no node; give it one of the ids")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the name of the edges, which stand under both here
        return nx.node_link_graph({"multigraph": False, **content, **dict.fromkeys(EDGES, edges)}, multigraph=False)


def name_of(node: Any, values: dict[str, Any]) -> str:
    """What a node is called: its label or name, or its id."""
    return str(next((values[name] for name in NAMES if values.get(name) not in (None, "")), node))


def cost_of(one: str, other: str, values: Mapping[str, Any]) -> float:
    """What an edge costs, 1 where it does not say. Raises UserError for what is negative or no number."""
    cost = values.get("cost", values.get("weight", 1.0))
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < float("inf"):
        raise UserError(f"curriculum.graph: edge {one} - {other} has cost {cost}; give a number from 0 on")
    return cost


def simple(graph: Any) -> Any:
    """A graph with one edge at most between two nodes, the cheapest, and none from a node to itself.

    Raises UserError for a cost that is none.
    """
    found = nx.DiGraph() if graph.is_directed() else nx.Graph()
    found.add_nodes_from(graph.nodes(data=True))
    for one, other, values in graph.edges(data=True):
        if one == other and not graph.is_directed():
            continue
        cost = cost_of(one, other, values)
        if not found.has_edge(one, other) or cost < found.edges[one, other]["cost"]:
            found.add_edge(one, other, **{**values, "cost": cost})
    return found
