"""Whether curricula helped: beside no curriculum, and beside the random order at the same pace."""

from collections.abc import Iterator, Sequence

from kd_lightning.columns import Column
from kd_lightning.reporting.pages.content import Cell, Table
from kd_lightning.reporting.tables.cells import paired_cells
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.curricula import Control, Taught, Verdict, taught

NONE = " over no curriculum"
CONTROLS = {"order": "the random order at the same pace", "graph": "a random graph with the same gate"}
SAYS = {Verdict.HELPED: "helped", Verdict.HURT: "hurt", Verdict.NOTHING: "nothing shown"}
UNEQUAL = "other numbers of steps"


def curricula(runs: Collection) -> Table | None:
    """A row for each curriculum: how much better it is than no curriculum, and than the random order."""
    found = taught(runs)
    if not any(one.over_none or one.over_random for one in found):
        return None
    column = runs.selects_on.column
    titles = ["curriculum", "seeds", "over no curriculum", "p", "over its random control", "p", "its order"]
    rows = [
        [
            Cell(one.title),
            Cell(str(one.seeds), one.seeds),
            *controlled(one.over_none, column),
            *controlled(one.over_random, column),
            Cell("random" if one.is_random else "" if one.verdict is None else SAYS[one.verdict]),
        ]
        for one in found
    ]
    return Table(titles, [False, *[True] * 5, False], rows)


def controlled(control: Control | None, column: Column) -> list[Cell]:
    """A difference with its interval and its p-value."""
    difference, p = paired_cells(None if control is None else control.paired, column)
    if control is None or control.equal_steps:
        return [difference, p]
    return [Cell(difference.text, difference.value, f"{difference.note}, {UNEQUAL}"), p]


def sentence(runs: Collection) -> str:
    """Whether orders helped beyond their control; nothing where no run has a curriculum."""
    found = [one for one in taught(runs) if not one.is_random]
    column = runs.selects_on.column
    text = "; ".join([*known(found, column), *unknown(found, column)])
    return f"{text[0].upper()}{text[1:]}." if text else ""


def known(found: Sequence[Taught], column: Column) -> Iterator[str]:
    """What the intervals say of orders."""
    for part, beside in CONTROLS.items():
        for verdict, before, behind in (
            (Verdict.HELPED, f"beyond {beside}", "helped"),
            (Verdict.HURT, f"against {beside}", "did harm"),
            (Verdict.NOTHING, "nothing shows that the order of", f"helped beyond {beside}"),
        ):
            some = [one for one in found if one.part == part and one.verdict is verdict]
            if titles := [f"{one.title} {in_words(one.over_random, column)}" for one in some]:
                yield f"{before} {listed(titles)} {behind}"


def unknown(found: Sequence[Taught], column: Column) -> Iterator[str]:
    """Of which orders nothing is known, and why."""
    reasons: dict[str, list[str]] = {}
    for one in found:
        if one.verdict is None:
            title = one.title if one.over_none is None else f"{one.title} {in_words(one.over_none, column, NONE)}"
            reasons.setdefault(reason(one), []).append(title)
    for why, titles in reasons.items():
        yield f"whether the order of {listed(titles)} helped is not known, for {why}"


def reason(one: Taught) -> str:
    """Why nothing is known of an order."""
    if one.part is None:
        return "no random one can take its place"
    beside = CONTROLS[one.part]
    if one.over_random is None:
        return f"no run of {beside} stands beside it (curriculum/{one.part}=random)"
    if not one.over_random.equal_steps:
        return f"{beside} was trained for another number of steps"
    return f"it has fewer than two seeds in common with {beside} (seed=0,1,2)"


def in_words(control: Control | None, column: Column, over: str = "") -> str:
    """A difference with its interval, in brackets."""
    if control is None or control.paired is None:
        return "(of no common seed)"
    found = control.paired.difference
    if found.low is None or found.high is None:
        return f"({column.difference(found.mean)}{over}, one seed)"
    between = f"{column.signed(found.low)} to {column.signed(found.high)}"
    unequal = "" if control.equal_steps else f", {UNEQUAL}"
    return f"({column.difference(found.mean)}{over}, 95 % interval {between}, {found.n} seeds{unequal})"


def listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
