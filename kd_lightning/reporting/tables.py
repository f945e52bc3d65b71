"""Tables for the page and for Markdown: cells with a text and, to sort by, a value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kd_lightning.reporting.collection import METRICS, Collection, Configuration, shortened
from kd_lightning.reporting.figures.style import TITLES
from kd_lightning.reporting.runs import ROLES, Run
from kd_lightning.reporting.statistics import Paired, Spread, paired, spread
from kd_lightning.reporting.table import ROWS
from kd_lightning.sweeps.status import FINISHED


@dataclass(frozen=True)
class Cell:
    """A text, what it is sorted by where that is something else, and a note below it."""

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Titles, which of the columns hold numbers, rows of cells, and which rows stand out."""

    titles: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]
    marked: list[int] = field(default_factory=list)
    controls: bool = False

    def words(self, row: list[Cell]) -> str:
        """What a filter looks through: each cell's text, and as TITLE=TEXT."""
        return " ".join(f"{cell.text} {title}={cell.text}" for title, cell in zip(self.titles, row, strict=True))


def comparison(runs: Sequence[Run]) -> Table:
    """A column for each role, a row for each metric; over several runs the mean and its standard deviation."""
    shown = [role for role in ROLES if any((run.summary or {}).get(role) for run in runs)]
    rows = []
    for label, metric, text in ROWS:
        cells = [summary_cell(runs, role, metric, text) for role in shown]
        if any(cell.text for cell in cells):
            rows.append([Cell("test " + label if label.startswith("top-") else label), *cells])
    return Table(["", *(TITLES[role] for role in shown)], [False, *(True for _ in shown)], rows)


def summary_cell(runs: Sequence[Run], role: str, metric: str, text: Any) -> Cell:
    values = [value for run in runs if (value := run.metric(role, metric)) is not None]
    if not values:
        return Cell("")
    if len(set(values)) == 1:
        return Cell(text(values[0]))
    found = spread(values)
    assert found is not None
    shown = text(found.mean)
    return Cell(shown if not found.deviation or metric == "latency_ms" else f"{shown} ± {text(found.deviation)}")


def configurations(runs: Collection) -> Table:
    """A row for each configuration, the best first: its spread over seeds, and its gain over the student alone."""
    metrics = [name for name in METRICS if any(one.values("student", name) for one in runs.configurations)]
    against = [name for name in metrics if any(one.pairs(name) for one in runs.configurations)]
    titles, numeric = [*(runs.keys or ["configuration"]), "runs"], [*([False] * max(1, len(runs.keys))), True]
    titles += [METRICS[name] for name in metrics]
    for name in against:
        titles += [f"gain, {METRICS[name].removesuffix(' top-1 %')}", "p"]
    numeric += [True] * (len(titles) - len(numeric))
    ordered = sorted(runs.configurations, key=lambda one: -mean_or_worst(one, runs.selects_on))
    rows = []
    for one in ordered:
        cells = [choice(value) for value in one.choices.values()] or [Cell("all runs")]
        cells.append(count(one))
        for name in metrics:
            cells.append(spread_cell(spread(one.values("student", name))))
        for name in against:
            cells += paired_cells(paired(one.pairs(name)))
        rows.append(cells)
    marked = [index for index, one in enumerate(ordered) if one is runs.selected]
    return Table(titles, numeric, rows, marked, controls=len(rows) > 1)


def mean_or_worst(configuration: Configuration, metric: str) -> float:
    found = spread(configuration.values("student", metric))
    return -1.0 if found is None else found.mean


def count(configuration: Configuration) -> Cell:
    """How many runs have finished, of how many."""
    finished, of = sum(run.status == FINISHED for run in configuration.runs), len(configuration.runs)
    return Cell(str(of) if finished == of else f"{finished} of {of}", finished)


def spread_cell(found: Spread | None) -> Cell:
    """A mean with its standard deviation, and its interval."""
    if found is None:
        return Cell("", -1.0)
    mean = f"{100 * found.mean:.2f}"
    if found.deviation is None or found.low is None or found.high is None:
        return Cell(mean, found.mean, "one seed")
    interval = f"{100 * found.low:.2f} to {100 * found.high:.2f}"
    return Cell(f"{mean} ± {100 * found.deviation:.2f}", found.mean, interval)


def paired_cells(found: Paired | None) -> list[Cell]:
    """A difference in points with its interval, and the p-value of the test."""
    if found is None:
        return [Cell("", -9.0), Cell("", 2.0)]
    difference = found.difference
    mean = f"{100 * difference.mean:+.2f}"
    if difference.low is None or difference.high is None:
        return [Cell(mean, difference.mean, "one seed"), Cell("", 2.0)]
    gain = Cell(mean, difference.mean, f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}")
    if found.p is None:
        return [gain, Cell("same in all", 2.0)]
    return [gain, Cell(p_value(found.p).removeprefix("= "), found.p)]


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def jobs(runs: Collection) -> Table:
    """A row for each run, those that did not finish with what is known of them."""
    metrics = [name for name in METRICS if any(run.metric("student", name) is not None for run in runs.runs)]
    failed = any(run.error for run in runs.runs)
    titles = [
        "run",
        "status",
        *runs.keys,
        "seed",
        *(METRICS[name] for name in metrics),
        f"gain, {METRICS[runs.selects_on].removesuffix(' top-1 %')}",
        "time",
    ]
    text = {"run", "status", *runs.keys, "error"}
    titles += ["error"] if failed else []
    rows = []
    for run in runs.runs:
        cells = [Cell(run.name, float(run.name) if run.name.isdigit() else None), Cell(run.status)]
        cells += [choice(runs.value(run, key)) for key in runs.keys]
        cells.append(Cell(str(run.seed), run.seed))
        cells += [percent(run.metric("student", name)) for name in metrics]
        cells += [gain(run, runs.selects_on), time(run)] + ([Cell(run.error or "")] if failed else [])
        rows.append(cells)
    marked = [index for index, run in enumerate(runs.runs) if runs.selected and run in runs.selected.runs]
    return Table(titles, [title not in text for title in titles], rows, marked, controls=True)


def gain(run: Run, metric: str) -> Cell:
    """How much higher the student is than the student alone."""
    student, scratch = run.metric("student", metric), run.metric("scratch", metric)
    if student is None or scratch is None:
        return Cell("", -9.0)
    return Cell(f"{100 * (student - scratch):+.2f}", student - scratch)


def percent(value: float | None) -> Cell:
    return Cell("", -1.0) if value is None else Cell(f"{100 * value:.2f}", value)


def time(run: Run) -> Cell:
    """What the job took, or where that is not known the student's training."""
    seconds = run.seconds if run.seconds is not None else (run.summary or {}).get("time", {}).get("fit_s")
    if seconds is None:
        return Cell("", -1.0)
    return Cell(f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min", seconds)


def choice(value: str) -> Cell:
    """What a run was given; sorted as a number where it is one."""
    try:
        return Cell(shortened(value), float(value))
    except ValueError:
        return Cell(value)


def objective(run: Run) -> Table:
    """What was minimised."""
    terms = (run.summary or {}).get("objective", {})
    rows = []
    for name, term in terms.items():
        rest = {key: value for key, value in term.items() if key not in ("loss", "weight")}
        given = ", ".join(f"{key} {value}" for key, value in rest.items())
        rows.append([Cell(name), Cell(term["loss"]), Cell(f"{term['weight']:g}"), Cell(given)])
    return Table(["term", "loss", "weight at the end", "with"], [False, False, True, False], rows)
