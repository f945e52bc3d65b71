"""The tables of the page and of its Markdown."""

from collections.abc import Sequence

from kd_lightning.reporting.figures.classes import WHOLE, confusions_of
from kd_lightning.reporting.figures.style import TITLES
from kd_lightning.reporting.pages.content import Cell, Table
from kd_lightning.reporting.tables.cells import accuracy, choice, count, gain, over_runs, over_seeds, paired_cells, time
from kd_lightning.reporting.tables.terminal_tables import ROWS
from kd_lightning.runs.collection import METRICS, Collection, Configuration
from kd_lightning.runs.run import Run
from kd_lightning.runs.statistics import paired
from kd_lightning.tracking.arrays import ROLES

CONFUSIONS = 20  # rows


def comparison(runs: Sequence[Run]) -> Table:
    """A column for each role, a row for each metric; over several runs the mean and its standard deviation."""
    shown = [role for role in ROLES if any((run.summary or {}).get(role) for run in runs)]
    rows = []
    for label, metric, form in ROWS:
        found = [[value for run in runs if (value := run.metric(role, metric)) is not None] for role in shown]
        if any(found):
            title = "test " + label if label.startswith("top-") else label
            rows.append([Cell(title), *(over_runs(values, form) for values in found)])
    return Table(["", *(TITLES[role] for role in shown)], [False, *(True for _ in shown)], rows)


def commonest_confusions(run: Run) -> Table | None:
    """Of very many classes, which the last network takes for which others most often; None of fewer classes."""
    found = [one for role in ROLES if (one := confusions_of(role, run)) is not None]
    if not found or found[-1].num_classes <= WHOLE:
        return None
    names = run.arrays["class_names"]
    rows = [
        [Cell(str(names[true])), Cell(str(names[other])), Cell(f"{images:,}"), Cell(f"{100 * images / of:.1f}")]
        for true, other, images in found[-1].wrong[:CONFUSIONS].tolist()
        for of in (found[-1].images[true],)
    ]
    return Table(["true", "predicted", "images", "% of the true class"], [False, False, True, True], rows)


def configurations(runs: Collection) -> Table:
    """A row for each configuration, the best first: its spread over seeds, and its gain over the student alone."""
    metrics = [name for name in METRICS if any(one.values("student", name) for one in runs.configurations)]
    against = [name for name in metrics if any(one.pairs(name) for one in runs.configurations)]
    titles, numeric = [*(runs.keys or ["configuration"]), "runs"], [*([False] * max(1, len(runs.keys))), True]
    titles += [METRICS[name] for name in metrics]
    for name in against:
        titles += [gain_title(name), "p"]
    numeric += [True] * (len(titles) - len(numeric))
    ordered = sorted(runs.configurations, key=lambda one: -mean_or_worst(one, runs.selects_on))
    rows = []
    for one in ordered:
        cells = [choice(value) for value in one.choices.values()] or [Cell("all runs")]
        cells.append(count(one))
        for name in metrics:
            cells.append(over_seeds(one.spread(name)))
        for name in against:
            cells += paired_cells(paired(one.pairs(name)))
        rows.append(cells)
    marked = [index for index, one in enumerate(ordered) if one is runs.selected]
    return Table(titles, numeric, rows, marked, controls=len(rows) > 1)


def mean_or_worst(configuration: Configuration, metric: str) -> float:
    found = configuration.spread(metric)
    return -1.0 if found is None else found.mean


def gain_title(metric: str) -> str:
    return f"gain, {METRICS[metric].removesuffix(' top-1 %')}"


def jobs(runs: Collection) -> Table:
    """A row for each run, those that did not finish with what is known of them."""
    metrics = [name for name in METRICS if any(run.metric("student", name) is not None for run in runs.runs)]
    failed = any(run.error for run in runs.runs)
    titles = ["run", "status", *runs.keys, "seed", *(METRICS[name] for name in metrics)]
    titles += [gain_title(runs.selects_on), "time", *(["error"] if failed else [])]
    text = {"run", "status", *runs.keys, "error"}
    rows = []
    for run in runs.runs:
        cells = [Cell(run.name, float(run.name) if run.name.isdigit() else None), Cell(run.status)]
        cells += [choice(run.value(key)) for key in runs.keys]
        cells.append(choice(run.seed))
        cells += [accuracy(run.metric("student", name)) for name in metrics]
        cells += [gain(run, runs.selects_on), time(run)] + ([Cell(run.error or "")] if failed else [])
        rows.append(cells)
    marked = [index for index, run in enumerate(runs.runs) if runs.selected and run in runs.selected.runs]
    return Table(titles, [title not in text for title in titles], rows, marked, controls=True)


def objective(run: Run) -> Table:
    """What was minimised."""
    terms = (run.summary or {}).get("objective", {})
    rows = []
    for name, term in terms.items():
        rest = {key: value for key, value in term.items() if key not in ("loss", "weight")}
        given = ", ".join(f"{key} {value}" for key, value in rest.items())
        rows.append([Cell(name), Cell(term["loss"]), Cell(f"{term['weight']:g}"), Cell(given)])
    return Table(["term", "loss", "weight at the end", "with"], [False, False, True, False], rows)
