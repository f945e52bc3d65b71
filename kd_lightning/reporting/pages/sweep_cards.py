"""The numbers that stand first on the page of several runs."""

from kd_lightning.reporting.pages.content import Card
from kd_lightning.reporting.pages.run_page import measured_part
from kd_lightning.reporting.tables.cells import p_value
from kd_lightning.reporting.tables.terminal_tables import percent
from kd_lightning.runs.collection import METRICS, Collection
from kd_lightning.runs.statistics import Paired, Spread, paired

LISTED = 6  # keys of a configuration; the table has all


def cards(runs: Collection) -> list[Card]:
    """The configuration that is shown first: what it is, what it reached, what distillation brought."""
    shown = runs.shown
    if shown is None:
        return []
    found = []
    if runs.keys:
        chosen = "selected on validation data" if runs.selected else "highest mean"
        found.append(Card(chosen, shortened(str(shown), "\n"), f"of {len(runs.configurations)} configurations"))
    for metric, name in METRICS.items():
        value = shown.spread(metric)
        if value is not None:
            parts = dict.fromkeys(measured_part(run, metric).strip(", ") for run in shown.runs)
            title = ", ".join([name.removesuffix(" %"), *(part for part in parts if part)])
            found.append(Card(title, f"{percent(value.mean)} %", interval(value)))
    metric = "top1" if shown.pairs("top1") else "top1_validation"
    gain = paired(shown.pairs(metric))
    if gain is not None:
        label = f"gain over the student alone, {'test' if metric == 'top1' else 'validation'}"
        found.append(Card(label, f"{100 * gain.difference.mean:+.2f} points", verdict(gain)))
    return found


def summary_card(runs: Collection) -> Card:
    """The best of the runs on one data set, where there are several."""
    shown = runs.shown
    value = None if shown is None else shown.spread(runs.selects_on)
    best = "no result" if value is None else f"{percent(value.mean)} %"
    of = f"{len(runs.runs)} run{'s' if len(runs.runs) > 1 else ''}"
    note = f"{shortened(str(shown), ' ')}, of {of}" if shown is not None and runs.keys else of
    return Card(f"{runs.title}, best {runs.measure.removesuffix(' %')}", best, note)


def shortened(choices: str, between: str) -> str:
    """What was chosen, of many keys the first."""
    words = choices.split(" ")
    return between.join([*words[:LISTED], *(["…"] if len(words) > LISTED else [])])


def interval(value: Spread) -> str:
    if value.low is None or value.high is None:
        return "one seed: a spread needs more"
    return f"95 % interval {percent(value.low)} to {percent(value.high)}, {value.n} seeds"


def verdict(gain: Paired) -> str:
    if gain.difference.low is None or gain.difference.high is None:
        return "one seed: a test needs more"
    between = f"{100 * gain.difference.low:+.2f} to {100 * gain.difference.high:+.2f}"
    return f"95 % interval {between}, " + ("same in all seeds" if gain.p is None else f"p {p_value(gain.p)}")
