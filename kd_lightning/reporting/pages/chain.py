"""What is shown of a chain of networks, each taught by the one before it, or by all."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd_lightning.columns import Measure
from kd_lightning.reporting.pages.content import Cell, Section, Table, section
from kd_lightning.reporting.tables.cells import LOWEST
from kd_lightning.runs.run import Run
from kd_lightning.runs.summary import Network, Role, Summary

CHAINS = ("assistants", "born_again")  # the plans that have one


class Link(NamedTuple):
    """A network of a chain, and those that taught it: none of the first one, and of the mean of several."""

    network: Network
    taught_by: list[Network]


def chain(run: Run, measure: Measure) -> list[Section]:
    """The section of a run whose networks taught one another; none of another one."""
    found = [] if run.summary is None else links(run.summary, run.config.get("plan") or {})
    if run.summary is None or not found:
        return []
    baseline = run.summary.baseline
    text = (
        f"Each network and who taught it, by {measure.title}. Over its teacher: how much better it is than the best of "
        "those that taught it, which is below 0 where a smaller network does not reach a larger one."
    )
    if baseline is not None:
        text += f" Over the {baseline.title}: what the chain brought until there, of networks of that size."
    text += (
        " What the links between bring beyond the first one alone, a run of plan=distillation tells beside this one."
    )
    titles = ["network", "model", "taught by", "parameters", measure.title, "over its teacher"]
    titles += [] if baseline is None else [f"over the {baseline.title}"]
    rows = [row(link, baseline, measure) for link in found]
    numeric = [False, False, False, *(True for _ in titles[3:])]
    marked = [place for place, link in enumerate(found) if link.network == run.summary.result]
    return section("chain", "Chain", text, [Table(titles, numeric, rows, marked)])


def links(summary: Summary, plan: Mapping[str, Any]) -> list[Link]:
    """The networks of a chain in its order; none of another plan. `plan` is what its config says."""
    if summary.plan.name not in CHAINS:
        return []
    baseline, networks = summary.baseline, [one for one in summary.networks if one.role is not Role.MEMBER]
    taught = [one for one in networks if one != baseline]
    if not summary.of(Role.TEACHER) and baseline is not None:
        taught = [baseline, *taught]  # who teaches the first generation where nobody else does
    end = taught.index(summary.result) + 1
    found = []
    for place, network in enumerate(taught):
        before = taught[:place] if plan.get("dense") else taught[max(0, place - 1) : place]
        found.append(Link(network, before if place < end else []))
    return found


def row(link: Link, baseline: Network | None, measure: Measure) -> list[Cell]:
    """A link's model, its teachers, its size and its result, and how much better that is than others'."""
    network = link.network
    params, reached = network.record.get("params"), network.record.get(measure.name)
    value = Cell("", LOWEST) if reached is None else Cell(measure.column.text(reached), reached)
    cells = [
        Cell(network.title),
        Cell(str(network.record["model"])),
        Cell(", ".join(one.title for one in link.taught_by)),
        Cell("", LOWEST) if params is None else Cell(f"{params:,}", params),
        value,
        gain(network, link.taught_by, measure),
    ]
    if baseline is not None:
        is_of_its_size = network != baseline and network.role is Role.STUDENT
        cells.append(gain(network, [baseline] if is_of_its_size else [], measure))
    return cells


def gain(network: Network, others: list[Network], measure: Measure) -> Cell:
    """How much better a network is than the best of others; nothing where that is not known."""
    reached, column = network.record.get(measure.name), measure.column
    known = [value for one in others if (value := one.record.get(measure.name)) is not None]
    if reached is None or not known:
        return Cell("", LOWEST)
    difference = column.sign * (reached - column.best(known))
    return Cell(column.signed(difference), difference)
