"""The numbers that stand first on the page of several runs."""

from kd_lightning.columns import Column, Measure
from kd_lightning.reporting.pages.content import Card
from kd_lightning.reporting.pages.run_page import measured_part
from kd_lightning.reporting.tables.cells import p_value
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.collections.statistics import Paired, Spread, paired

LISTED = 6  # keys of a configuration; the table has all


def cards(runs: Collection) -> list[Card]:
    """The configuration that is shown first: what it is, what it reached, what distillation brought."""
    shown = runs.shown
    if shown is None:
        return []
    found = []
    if runs.keys:
        chosen = "selected on validation data" if runs.selected else best_mean(runs)
        found.append(Card(chosen, shortened(str(shown), "\n"), f"of {len(runs.configurations)} configurations"))
    for measure in runs.measures:
        value = shown.spread(measure.name)
        if value is not None:
            parts = dict.fromkeys(measured_part(run, measure).strip(", ") for run in shown.runs)
            title = ", ".join([measure.label, *(part for part in parts if part)])
            found.append(Card(title, measure.column.with_unit(value.mean), interval(value, measure.column)))
    measure = runs.compared.test if shown.pairs(runs.compared.test.name) else runs.compared.validation
    gain = paired(shown.pairs(measure.name), measure.column.sign)
    if gain is not None:
        label = f"gain over the {runs.baseline}, {measure.split}"
        found.append(Card(label, measure.column.difference(gain.difference.mean), verdict(gain, measure)))
    return found


def best_mean(runs: Collection) -> str:
    return "highest mean" if runs.selects_on.column.higher_is_better else "lowest mean"


def summary_card(runs: Collection) -> Card:
    """The best of the runs on one data set, where there are several."""
    shown = runs.shown
    measure = runs.selects_on
    value = None if shown is None else shown.spread(measure.name)
    best = "no result" if value is None else measure.column.with_unit(value.mean)
    of = f"{len(runs.runs)} run{'s' if len(runs.runs) > 1 else ''}"
    note = f"{shortened(str(shown), ' ')}, of {of}" if shown is not None and runs.keys else of
    return Card(f"{runs.title}, best {measure.label}", best, note)


def shortened(choices: str, between: str) -> str:
    """What was chosen, of many keys the first."""
    words = choices.split(" ")
    return between.join([*words[:LISTED], *(["…"] if len(words) > LISTED else [])])


def interval(value: Spread, column: Column) -> str:
    if value.low is None or value.high is None:
        return "one seed: a spread needs more"
    return f"95 % interval {column.text(value.low)} to {column.text(value.high)}, {value.n} seeds"


def verdict(gain: Paired, measure: Measure) -> str:
    if gain.difference.low is None or gain.difference.high is None:
        return "one seed: a test needs more"
    between = f"{measure.column.signed(gain.difference.low)} to {measure.column.signed(gain.difference.high)}"
    return f"95 % interval {between}, " + ("same in all seeds" if gain.p is None else f"p {p_value(gain.p)}")
