"""The section of a run's curriculum: what is read, the pictures, the graph with the path walked, the decisions."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import networkx
import pytest

from kd_lightning.reporting.figures.curriculum import concepts, values
from kd_lightning.reporting.figures.graph import LETTER, as_graph, edges_walked, graph
from kd_lightning.reporting.figures.places import placed
from kd_lightning.reporting.pages.content import Table
from kd_lightning.reporting.pages.curriculum import curriculum
from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.runs.curriculum import Told, read_curriculum
from kd_lightning.runs.files import CURRICULUM, PAGE
from kd_lightning.runs.run import Run, read_run
from kd_lightning.runs.status import FINISHED
from tests.conftest import Command
from tests.reporting.told import branching, chain, concepts_of, graph_of, hierarchy, walk, write

NAMES = ["ant", "bee", "cat", "dog"]

ENDS = ("id", "source", "target")  # where a graph names its concepts


def told_of(folder: Path, told: dict[str, Any]) -> Told:
    found = read_curriculum(write(folder, told))
    assert found is not None
    return found


def sections(folder: Path) -> dict[str, Any]:
    return {one.title: one for one in curriculum(Run(folder, "run", FINISHED, {}))}


def test_the_path_is_what_was_opened_for_itself(tmp_path: Path) -> None:
    record = walk(["cat", "ant"], graph_of(chain(NAMES)))
    told = told_of(tmp_path, record)
    assert told.path == ["cat", "ant"]
    assert told.concepts == ["cat", "ant", "bee", "dog"]
    record["epochs"] = [{**one, "teaches": NAMES if one["epoch"] == 2 else one["teaches"]} for one in record["epochs"]]
    assert told_of(tmp_path, record).path == ["cat", "ant"]  # the end teaches all


def test_what_came_one_by_one_beside_what_was_there_is_a_path_too(tmp_path: Path) -> None:
    record = walk(NAMES, None, finish=0)
    for number, one in enumerate(record["epochs"]):
        one["teaches"] = NAMES[: number + 1]
    assert told_of(tmp_path, record).path == NAMES


@pytest.mark.parametrize("directed", [False, True])
def test_the_path_was_walked_along_shortest_ways(tmp_path: Path, directed: bool) -> None:
    chance = random.Random(3)
    names = [f"concept {number}" for number in range(9)]
    for attempt in range(5):
        pairs = [*chain(names), *(pair for pair in itertools.combinations(names, 2) if chance.random() < 0.3)]
        record = graph_of([*dict.fromkeys(pairs)], directed=directed)
        for edge in record["edges"]:
            edge["cost"] = chance.randint(1, 9)
        order = [names[0], *chance.sample(names[1:], 5)]
        told = told_of(tmp_path / str(attempt), walk(order, record))
        known = as_graph(told)
        walked = edges_walked(known, told.path)
        costs = {frozenset(pair) if not directed else pair: known.edges[pair]["cost"] for pair in known.edges}
        reached = {order[0]}
        for concept in order[1:]:  # each was reached at the cost of the shortest of all simple ways
            cheapest = min(
                sum(costs[pair if directed else frozenset(pair)] for pair in itertools.pairwise(way))
                for source in reached
                for way in networkx.all_simple_paths(known, source, concept)
            )
            steps = networkx.DiGraph() if directed else networkx.Graph()
            steps.add_nodes_from(known)
            steps.add_edges_from((*pair, {"cost": known.edges[pair]["cost"]}) for pair in walked)
            found, _ = networkx.multi_source_dijkstra(steps, reached, target=concept, weight="cost")
            assert found == cheapest
            reached.add(concept)


@pytest.mark.parametrize(
    "record",
    [
        hierarchy(2, 5),
        hierarchy(20, 5),
        branching(10),
        branching(100),
        graph_of(chain([f"concept {number}" for number in range(10)]), directed=True),
        graph_of([("a", "b"), ("c", "d"), ("c", "e")]),
    ],
)
def test_no_concept_lies_on_another(record: dict[str, Any]) -> None:
    known = networkx.DiGraph() if record["directed"] else networkx.Graph()
    known.add_nodes_from(node["id"] for node in record["nodes"])
    known.add_edges_from((edge["source"], edge["target"]) for edge in record["edges"])
    known.add_node("alone") if len(known) < 6 else None
    places = placed(known, concepts_of(record), 1000)
    assert places.keys() == {*known}
    apart = min(
        abs(one[0] - other[0]) + abs(one[1] - other[1]) for one, other in itertools.combinations(places.values(), 2)
    )
    assert apart > 12
    if record["directed"]:
        assert all(places[one][0] < places[other][0] for one, other in known.edges)


def test_the_heat_map_has_each_epochs_accuracy_and_what_was_taught(tmp_path: Path) -> None:
    record = walk(["<cat>", "ant"], None, finish=1)
    figure = concepts(told_of(tmp_path, record))
    assert figure is not None
    cells, marks = figure["data"]
    assert cells["y"] == ["&#60;cat&#62;", "ant"]
    assert cells["z"] == [[50.0, 50.0, 75.0], [0.0, 50.0, 75.0]]
    assert [*zip(marks["x"], marks["y"], strict=True)] == [(1, "&#60;cat&#62;"), (2, "ant")]


def test_values_have_panels_of_their_own(tmp_path: Path) -> None:
    record = walk(NAMES, None)
    for one in record["epochs"]:
        one["values"] |= {"mastered": 0.5, "temperature": None if one["epoch"] == 0 else 4.0}
    first, second = values(told_of(tmp_path, record))
    assert [first["layout"][name]["title"]["text"] for name in ("yaxis", "yaxis2", "yaxis3")] == [
        "samples in use %",
        "difficulty",
        "mastered goals %",
    ]
    assert first["data"][0]["y"] == [25.0, 50.0, 75.0, 100.0, 100.0, 100.0]
    assert second["data"][0]["x"] == [2, 3, 4, 5, 6]


def test_the_graph_tells_of_each_concept(tmp_path: Path) -> None:
    record = walk(["ant", "bee"], graph_of(chain(NAMES)), finish=0)
    record["graph"]["nodes"][0]["against"] = 0.9
    figure = graph(told_of(tmp_path, record))
    assert figure is not None
    [said] = [trace["customdata"] for trace in figure["data"] if "customdata" in trace]
    assert said == [
        "ant, opened as number 1, 50.0 % at the end, beside 90.0 %",
        "bee, opened as number 2, 50.0 % at the end",
        "cat, never opened",
        "dog, never opened",
    ]
    texts = [trace["text"] for trace in figure["data"] if trace.get("mode") == "text"]
    assert texts == [NAMES, ["1", "2"]]


def test_long_names_are_inside_of_the_figure(tmp_path: Path) -> None:
    known = branching(20)
    for kind in ("nodes", "edges"):
        for entry in known[kind]:
            entry.update({key: f"a concept of a long name, {entry[key]}" for key in entry if key in ENDS})
    figure = graph(told_of(tmp_path, walk(concepts_of(known), known)))
    assert figure is not None
    left, right = figure["layout"]["xaxis"]["range"]
    labels = next(one for one in figure["data"] if one.get("textposition"))
    for x, text, side in zip(labels["x"], labels["text"], labels["textposition"], strict=True):
        width = LETTER * labels["textfont"]["size"] * len(text)
        begins = {"middle right": x, "middle left": x - width, "middle center": x - width / 2}[side]
        assert left <= begins
        assert begins + width <= right


def test_decisions_are_a_table(tmp_path: Path) -> None:
    [table] = sections(write(tmp_path, walk(NAMES, None)))["Decisions"].contents
    assert isinstance(table, Table)
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows[1] == ["2", "bee", "bee is opened, for what comes before is mastered"]
    assert len(rows) == 4


def test_there_is_no_more_than_was_told(tmp_path: Path) -> None:
    record = walk(NAMES, None)
    record["epochs"] = [{**one, "concepts": {}, "teaches": [], "decisions": []} for one in record["epochs"]]
    assert [*sections(write(tmp_path, record))] == ["Curriculum"]
    assert curriculum(Run(tmp_path / "other", "run", FINISHED, {})) == []


@pytest.mark.parametrize("content", ["{", '{"curriculum": "Own", "epochs": [{"epoch": 0}], "graph": null}', "[]"])
def test_a_damaged_file_is_left_out_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / CURRICULUM).write_text(content)
    assert curriculum(Run(tmp_path, "run", FINISHED, {})) == []
    told = capsys.readouterr()
    assert "what the curriculum told is left out" in told.out + told.err


def test_a_runs_page_has_its_curriculum(command: Command) -> None:
    given = (
        "teacher=none",
        "scratch=false",
        "student.model=digits_cnn_4",
        "trainer.max_epochs=3",
        "data.batch_size=32",
    )
    own = "curriculum={_target_: tests.curricula.walking.Walking}"
    outcome = command("kd-train", *given, own, "hydra.run.dir=run", "callbacks.progress_bar=null")
    assert outcome.code == 0, outcome.errors
    folder = outcome.folder / "run"
    record = json.loads((folder / CURRICULUM).read_text())
    assert [one["teaches"] for one in record["epochs"]][-1] == ["class 0", "class 1", "class 2"]
    assert len(record["graph"]["nodes"]) == 10
    page = (folder / PAGE).read_text()
    assert "class 2 is opened, for class 1 was taught for an epoch</td>" in page
    titles = [one.title for one in run_page(read_run(folder)).sections]
    at = titles.index("Curriculum")
    assert titles[at : at + 4] == ["Curriculum", "Concepts", "Knowledge graph", "Decisions"]
    (folder / "summary.json").unlink()  # as of a run that goes on yet
    assert "Knowledge graph" in [one.title for one in run_page(read_run(folder)).sections]
