"""Whether curricula helped: beside no curriculum, and beside the same one with a part that decides nothing."""

from collections.abc import Iterator, Sequence

from kd_lightning.columns import Column
from kd_lightning.reporting.pages.content import Cell, Table
from kd_lightning.reporting.tables.cells import paired_cells
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.curricula import NONE, ORDERS, PARTS, Control, Taught, Verdict, taught

CALLED = {NONE: "no curriculum", **{part: stands.called for part, stands in PARTS.items()}}
UNEQUAL = "other numbers of steps"


def curricula(runs: Collection) -> Table | None:
    """A row for each curriculum beside each of its controls: how much better it is; None without any."""
    column = runs.selects_on.column
    rows = [
        [Cell(one.title), Cell(CALLED[part]), *controlled(control, column)]
        for one in taught(runs)
        for part, control in one.controls.items()
    ]
    if not rows:
        return None
    titles = ["curriculum", "beside", "seeds", "better by", "p", "verdict"]
    return Table(titles, [False, False, True, True, True, False], rows)


def controlled(control: Control, column: Column) -> list[Cell]:
    """Of how many seeds, a difference with its interval, its p-value, and what the interval tells."""
    difference, p = paired_cells(control.paired, column)
    seeds = 0 if control.paired is None else control.paired.difference.n
    if not control.equal_steps:
        difference = Cell(difference.text, difference.value, f"{difference.note}, {UNEQUAL}")
    return [Cell(str(seeds), seeds), difference, p, Cell("" if control.verdict is None else control.verdict.value)]


def sentence(runs: Collection) -> str:
    """Whether orders, and gates, helped beyond their control; nothing where no run has a curriculum."""
    found = [one for one in taught(runs) if not one.is_random]
    column = runs.selects_on.column
    text = "; ".join([*known(found, column), *unknown(found, column)])
    return f"{text[0].upper()}{text[1:]}." if text else ""


def known(found: Sequence[Taught], column: Column) -> Iterator[str]:
    """What the intervals say."""
    for part, stands in PARTS.items():
        by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
        for one in found:
            control = one.controls.get(part)
            if control is not None and control.verdict is not None:
                by_verdict[control.verdict].append(f"{one.title} {in_words(control, column)}")
        if helped := by_verdict[Verdict.HELPED]:
            yield f"beyond {stands.called} {listed(helped)} helped"
        if hurt := by_verdict[Verdict.HURT]:
            yield f"against {stands.called} {listed(hurt)} did harm"
        if nothing := by_verdict[Verdict.NOTHING]:
            what = "order" if part in ORDERS else part
            yield f"nothing shows that the {what} of {listed(nothing)} helped beyond {stands.called}"


def unknown(found: Sequence[Taught], column: Column) -> Iterator[str]:
    """Of which orders nothing is known, and why; and what they are beside no curriculum."""
    reasons: dict[str, list[str]] = {}
    for one in found:
        if (why := reason(one)) is not None:
            over_none = one.controls.get(NONE)
            beside = "" if over_none is None else f" {in_words(over_none, column, ' over no curriculum')}"
            reasons.setdefault(why, []).append(f"{one.title}{beside}")
    for why, titles in reasons.items():
        yield f"whether the order of {listed(titles)} helped is not known, for {why}"


def reason(one: Taught) -> str | None:
    """Why nothing is known of an order; None where something is."""
    if one.orders_by is None:
        return "no random one can take its place"
    stands, control = PARTS[one.orders_by], one.controls.get(one.orders_by)
    if control is None:
        return f"no run of {stands.called} stands beside it (curriculum/{one.orders_by}={stands.value})"
    if not control.equal_steps:
        return f"{stands.called} was trained for another number of steps"
    if control.verdict is None:
        return f"it has fewer than two seeds in common with {stands.called} (seed=0,1,2)"
    return None


def in_words(control: Control, column: Column, over: str = "") -> str:
    """A difference with its interval, in brackets."""
    if control.paired is None:
        return "(of no common seed)"
    found = control.paired.difference
    if found.low is None or found.high is None:
        return f"({column.difference(found.mean)}{over}, one seed)"
    between = f"{column.signed(found.low)} to {column.signed(found.high)}"
    unequal = "" if control.equal_steps else f", {UNEQUAL}"
    return f"({column.difference(found.mean)}{over}, 95 % interval {between}, {found.n} seeds{unequal})"


def listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
