"""The knowledge graph of a curriculum, with the path that was walked."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np

from kd_lightning.reporting.figures.places import Place, placed
from kd_lightning.reporting.figures.style import GREY, LOW_TO_HIGH, ORANGE, Figure, as_text, figure, mixed
from kd_lightning.runs.curriculum import Told

FEW, NAMED = 40, 250  # concepts; of more than these, smaller names, and names in the hover text alone
WIDTH = 1_040  # pixels that the page has for a figure
LETTER = 0.58  # the mean width of a letter, of its font's size
UNKNOWN = "#b9bec6"  # of a concept that was never measured
Places = Mapping[str, Place]


def graph(told: Told) -> Figure | None:
    """Concepts by their accuracy, numbered as they were opened; thick is what the path went along.

    None where there is no graph.
    """
    if not told.edges:
        return None
    known, concepts = as_graph(told), [one.name for one in told.nodes if not one.is_waypoint]
    at, walked = placed(known, concepts, WIDTH), edges_walked(known, told.path)
    size, font = (26, 13) if len(concepts) <= FEW else (20, 11)
    left, low, right, high = window(at)
    hidden = {"visible": False}
    return figure(
        [
            *lines(known.edges, at, GREY, 1.0),
            *(arrows(known.edges, at, GREY, size, 7) if told.directed else []),
            *lines(walked, at, ORANGE, 3.0 if len(walked) <= FEW else 2.0),
            *arrows([edge for edge in walked if edge[1] in concepts], at, ORANGE, size, 11),
            *waypoints(told, at),
            nodes(told, concepts, at, size),
            *([names(concepts, at, walked, size, font)] if len(concepts) <= NAMED else []),
            numbers(told, at, font - 1),
        ],
        height=round(high - low) + 16,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={**hidden, "range": [left, right]},
        yaxis={**hidden, "range": [low, high]},
        hovermode="closest",
        showlegend=False,
    )


def window(at: Places) -> tuple[float, float, float, float]:
    """What is seen, by its left, lower, right and upper side: all nodes, with room for names beside them."""
    across, up = ([place[axis] for place in at.values()] for axis in (0, 1))
    return min(across) - 90, min(up) - 32, max(across) + 90, max(up) + 32


def as_graph(told: Told) -> Any:
    known = nx.DiGraph() if told.directed else nx.Graph()
    known.add_nodes_from(one.name for one in told.nodes)
    known.add_edges_from((one.source, one.target, {"cost": max(0.0, one.cost)}) for one in told.edges)
    return known


def edges_walked(known: Any, path: Sequence[str]) -> list[tuple[str, str]]:
    """The edges along which the path came to each of its concepts: the shortest way from what it had opened before."""
    found: dict[tuple[str, str], None] = {}
    opened: set[str] = set()
    for concept in path:
        if concept in known:
            if opened:
                _, ways = nx.multi_source_dijkstra(known, opened, weight="cost")
                found |= dict.fromkeys(pairwise(ways.get(concept, [])))
            opened.add(concept)
    return [*found]


def lines(edges: Any, at: Places, colour: str, width: float) -> list[dict[str, Any]]:
    """Edges as one trace."""
    pairs = [(at[one], at[other]) for one, other in edges]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for one, other in pairs for x in (one[0], other[0], None)],
            "y": [y for one, other in pairs for y in (one[1], other[1], None)],
            "line": {"color": colour, "width": width},
            "opacity": 1.0 if width > 1 else max(0.3, min(0.8, 60 / max(1, len(pairs)))),
            "hoverinfo": "skip",
        }
    ][: len(pairs)]


def arrows(edges: Any, at: Places, colour: str, size: int, head: int) -> list[dict[str, Any]]:
    """The heads of edges, just before the concepts that they lead to."""
    pairs = [(at[one], at[other]) for one, other in edges]
    mark = {"symbol": "arrow", "angleref": "previous", "standoff": size / 2, "color": colour, "opacity": 1}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x for one, other in pairs for x in (one[0], other[0], None)],
            "y": [y for one, other in pairs for y in (one[1], other[1], None)],
            "marker": {**mark, "size": [0, head, 0] * len(pairs), "line": {"width": 0}},
            "hoverinfo": "skip",
        }
    ][: len(pairs)]


def waypoints(told: Told, at: Places) -> list[dict[str, Any]]:
    """What leads from concept to concept and is none: small, named where one points at it."""
    found = [one.name for one in told.nodes if one.is_waypoint]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [at[name][0] for name in found],
            "y": [at[name][1] for name in found],
            "text": [as_text(name) for name in found],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": GREY, "size": 8},
        }
    ][: len(found)]


def nodes(told: Told, concepts: Sequence[str], at: Places, size: int) -> dict[str, Any]:
    """Concepts, coloured by how well they are known at the end, from yellow to blue; what was opened has a rim."""
    latest, order = told.latest, {name: place + 1 for place, name in enumerate(told.path)}
    against = {one.name: one.against for one in told.nodes}
    colours = [mixed(LOW_TO_HIGH, min(1.0, max(0.0, latest[name]))) if name in latest else UNKNOWN for name in concepts]
    rims = {"color": [ORANGE if name in order else GREY for name in concepts], "width": 2}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [at[name][0] for name in concepts],
        "y": [at[name][1] for name in concepts],
        "customdata": [described(name, latest.get(name), against.get(name), order.get(name)) for name in concepts],
        "hovertemplate": "%{customdata}<extra></extra>",
        "marker": {"color": colours, "size": size, "opacity": 1, "line": rims},
    }


def described(name: str, accuracy: float | None, against: float | None, place: int | None) -> str:
    """What is said of a concept that one points at."""
    parts = [as_text(name), "never opened" if place is None else f"opened as number {place}"]
    parts += [] if accuracy is None else [f"{100 * accuracy:.1f} % at the end"]
    return ", ".join(parts) + ("" if against is None else f", beside {100 * against:.1f} %")


def numbers(told: Told, at: Places, font: int) -> dict[str, Any]:
    """In each concept as the how manieth it was opened."""
    opened = [(name, place + 1) for place, name in enumerate(told.path) if name in at]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [at[name][0] for name, _ in opened],
        "y": [at[name][1] for name, _ in opened],
        "text": [str(place) for _, place in opened],
        "textfont": {"size": font},
        "hoverinfo": "skip",
    }


def names(concepts: Sequence[str], at: Places, walked: Any, size: int, font: int) -> dict[str, Any]:
    """The concepts' names beside them, each on the side where most of it is seen, and it covers least of the others."""
    left, low, right, high = window(at)
    unseen = np.array([(left - WIDTH, low, left, high), (right, low, right + WIDTH, high)])
    boxes = [around(*at[name], size, size) for name in concepts]
    boxes += [around(*place, 4, 4) for one, other in walked for place in between(at[one], at[other])]
    labels: list[tuple[float, float, str]] = []  # where each begins or ends, for letters are not equally wide
    for number, name in enumerate(concepts):
        width, (x, y) = LETTER * font * len(name), at[name]
        beside, above = size / 2 + 4, (size + font) / 2 + 3
        sides = [(x + beside, y, "middle right"), (x - beside, y, "middle left")]
        sides += [(x, y + above, "middle center"), (x, y - above, "middle center")]
        places = [(x + beside + width / 2, y), (x - beside - width / 2, y), *((side[0], side[1]) for side in sides[2:])]
        others = np.array([box for other, box in enumerate(boxes) if other != number])
        drawn = [np.array(around(*place, width, font)) for place in places]
        covered = [(overlap(one, unseen), overlap(one, others)) for one in drawn]
        best = covered.index(min(covered))
        labels.append(sides[best])
        boxes.append(around(*places[best], width, font))
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x for x, _, _ in labels],
        "y": [y for _, y, _ in labels],
        "text": [as_text(name) for name in concepts],
        "textposition": [side for _, _, side in labels],
        "textfont": {"size": font},
        "hoverinfo": "skip",
    }


def around(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """A box by its left, lower, right and upper side."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def between(one: Place, other: Place) -> list[Place]:
    """Places along an edge, twelve pixels apart."""
    count = int(np.hypot(other[0] - one[0], other[1] - one[1]) // 12)
    shares = [(number + 1) / (count + 1) for number in range(count)]
    return [(one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])) for share in shares]


def overlap(box: np.ndarray, others: np.ndarray) -> float:
    """The area (a box of four numbers, others (N, 4)) that a box shares with others."""
    across = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    up = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((across.clip(0) * up.clip(0)).sum()) if len(others) else 0.0
