"""What is shown of a run's curriculum: its values, its concepts, the graph with the path walked, its decisions."""

from collections.abc import Sequence
from dataclasses import replace

from kd_lightning.reporting.figures.curriculum import concepts, values
from kd_lightning.reporting.figures.style import Figure
from kd_lightning.reporting.pages.content import Cell, Section, Table, section
from kd_lightning.runs.curriculum import Told, read_curriculum
from kd_lightning.runs.run import Run

LISTED = 3  # concepts that an epoch taught by name


def curriculum(run: Run) -> list[Section]:
    """The sections of a run with a curriculum, the first of them with a title of its own; none without one."""
    told = read_curriculum(run.folder)
    if told is None:
        return []
    text = (
        "What the curriculum had in use in each epoch, as it began, and how difficult that was on the mean, by its own "
        "measure; whatever else it told of an epoch."
    )
    of_concepts = (
        "Accuracy on validation data after each epoch, in per cent. Orange: what the epoch taught, where that was not "
        f"all. {in_order(told)}"
    )
    of_graph = (
        "Concepts by how well they are known at the end, from yellow, the worst, to blue; the number in each is its "
        "place in the order in which they were opened. The thick line is the path that was walked, from what had been "
        "opened to what was next, by the shortest way; a small dot leads from concept to concept and is none."
    )
    of_decisions = "What each gate decided as an epoch began, and why."
    parts = [
        *section("concepts", "Concepts", of_concepts, [concepts(told)]),
        *section("graph", "Knowledge graph", of_graph, [graph_of(told)]),
        *section("decisions", "Decisions", of_decisions, [decisions(told)]),
    ]
    first = section("curriculum", "Curriculum", text, values(told)) or [Section("curriculum", "Curriculum", "", [])]
    return [*first, *(replace(one, listed=False) for one in parts)] if parts or first[0].contents else []


def graph_of(told: Told) -> Figure | None:
    """The knowledge graph; None where there is none."""
    from kd_lightning.reporting.figures.graph import graph  # networkx takes its time to load

    return graph(told)


def pictures(told: Told) -> dict[str, Figure]:
    """The accuracy on each concept, and the graph with the path walked, as far as there are any, by name."""
    found = {"accuracy": concepts(told), "graph": graph_of(told)}
    return {name: figure for name, figure in found.items() if figure is not None}


def in_order(told: Told) -> str:
    return "From above, concepts as they were opened, then those that never were for themselves." if told.path else ""


def decisions(told: Told) -> Table | None:
    """A row for each decision; None where none was told."""
    rows = [
        [Cell(str(one.epoch + 1), one.epoch), Cell(taught(one.teaches)), Cell(decision)]
        for one in told.epochs
        for decision in one.decisions
    ]
    return Table(["epoch", "teaches", "decision"], [True, False, False], rows, controls=len(rows) > 1) if rows else None


def taught(names: Sequence[str]) -> str:
    """The names of concepts; of many, how many."""
    return ", ".join(names) if len(names) <= LISTED else f"{len(names)} concepts"
