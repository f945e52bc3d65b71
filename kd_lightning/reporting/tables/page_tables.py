"""The tables of the page and of its Markdown."""

from collections.abc import Sequence

from kd_lightning.columns import Measure
from kd_lightning.reporting.pages.content import Cell, Table
from kd_lightning.reporting.tables.cells import choice, count, gain, over_runs, over_seeds, paired_cells, result, time
from kd_lightning.reporting.tables.terminal_tables import rows_of
from kd_lightning.runs.collections.collection import Collection, networks_of
from kd_lightning.runs.collections.grouping import ranked
from kd_lightning.runs.collections.statistics import paired
from kd_lightning.runs.run import Run

LOSS = "train/loss"


def comparison(runs: Sequence[Run]) -> Table:
    """A column for each network, a row for each metric; over several runs the mean and its standard deviation."""
    shown = networks_of(runs)
    rows = []
    compared = next((run.compared for run in runs if run.compared is not None), None)
    for label, metric, form in rows_of(compared, tested="test "):
        found = [[value for run in runs if (value := run.metric(one.name, metric)) is not None] for one in shown]
        if any(found):
            rows.append([Cell(label), *(over_runs(values, form) for values in found)])
    return Table(["", *(one.title for one in shown)], [False, *(True for _ in shown)], rows)


def configurations(runs: Collection) -> Table:
    """A row for each configuration, the best first: its spread over seeds, and its gain over the baseline."""
    measures = runs.measures
    against = [one for one in measures if any(each.pairs(one.name) for each in runs.configurations)]
    titles, numeric = [*(runs.keys or ["configuration"]), "runs"], [*([False] * max(1, len(runs.keys))), True]
    titles += [one.title for one in measures]
    for one in against:
        titles += [gain_title(one, runs), "p"]
    numeric += [True] * (len(titles) - len(numeric))
    ordered = ranked(runs.configurations, runs.score)
    rows = []
    for configuration in ordered:
        cells = [choice(value) for value in configuration.choices.values()] or [Cell("all runs")]
        cells.append(count(configuration))
        for one in measures:
            cells.append(over_seeds(configuration.spread(one.name), one.column))
        for one in against:
            cells += paired_cells(paired(configuration.pairs(one.name), one.column.sign), one.column)
        rows.append(cells)
    marked = [index for index, configuration in enumerate(ordered) if configuration is runs.selected]
    return Table(titles, numeric, rows, marked, controls=len(rows) > 1)


def gain_title(measure: Measure, runs: Collection) -> str:
    """What a gain is of: of what selects the data alone."""
    return f"gain, {measure.split if measure.column == runs.selects_on.column else measure.label}"


def jobs(runs: Collection) -> Table:
    """A row for each run, those that did not finish with what is known of them."""
    failed = any(run.error for run in runs.runs)
    titles = ["run", "status", *runs.keys, "seed", *(one.title for one in runs.measures)]
    titles += [gain_title(runs.selects_on, runs), "time", *(["error"] if failed else [])]
    text = {"run", "status", *runs.keys, "error"}
    rows = []
    for run in runs.runs:
        cells = [Cell(run.name, float(run.name) if run.name.isdigit() else None), Cell(run.status)]
        cells += [choice(run.value(key)) for key in runs.keys]
        cells.append(choice(run.seed))
        cells += [result(run, one) for one in runs.measures]
        cells += [gain(run, runs.selects_on), time(run)] + ([Cell(run.error or "")] if failed else [])
        rows.append(cells)
    marked = [index for index, run in enumerate(runs.runs) if runs.selected and run in runs.selected.runs]
    return Table(titles, [title not in text for title in titles], rows, marked, controls=True)


def route(run: Run) -> Table | None:
    """A row for each anchor that the result followed: from which epoch on, what it reached, and why then."""
    told = None if run.summary is None else run.summary.route
    if told is None:
        return None
    anchors = {one["title"]: one for one in told["anchors"]}
    column = None if run.compared is None else run.compared.selects_on
    rows = []
    for move in told["moves"]:
        reached = None if column is None else anchors.get(move["anchor"], {}).get(column.name)
        value = Cell("") if reached is None or column is None else Cell(column.text(reached), reached)
        rows.append([Cell(str(move["epoch"] + 1), move["epoch"]), Cell(move["anchor"]), value, Cell(move["reason"])])
    titles = ["from epoch", "anchor", "" if column is None else f"validation {column.title}", "why then"]
    return Table(titles, [True, False, True, False], rows)


def stages(run: Run) -> Table | None:
    """A row for each stage that this run trained by itself, before the whole of the student; none where it did not."""
    if run.summary is None or run.summary.plan.name != "stages":
        return None
    rows = []
    for name in run.trained_apart:
        curves = run.curves_of(name)
        if name in run.summary.plan.networks or LOSS not in curves or curves[LOSS].isna().all():
            continue
        loss = curves[["step", LOSS]].dropna()
        (_, first), (step, last) = loss.iloc[0], loss.iloc[-1]
        rows.append([Cell(name), Cell(f"{step:.0f}", step), *(Cell(f"{one:.4g}", one) for one in (first, last))])
    return Table(["", "steps", "loss at first", "loss at last"], [False, True, True, True], rows) if rows else None


def objective(run: Run) -> Table:
    """What was minimised."""
    terms = {} if run.summary is None else run.summary.objective
    rows = []
    for name, term in terms.items():
        rest = {key: value for key, value in term.items() if key not in ("loss", "weight")}
        given = ", ".join(f"{key} {value}" for key, value in rest.items())
        rows.append([Cell(name), Cell(term["loss"]), Cell(f"{term['weight']:g}"), Cell(given)])
    return Table(["term", "loss", "weight at the end", "with"], [False, False, True, False], rows)
