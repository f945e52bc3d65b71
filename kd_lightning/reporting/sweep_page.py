"""What is shown of several runs, or of all jobs of a sweep."""

from dataclasses import replace

from kd_lightning.reporting.collection import METRICS, Collection, Configuration
from kd_lightning.reporting.content import Card, Content, Notice, Section, section
from kd_lightning.reporting.figures.curves import of_all
from kd_lightning.reporting.figures.parallel import parallel_coordinates
from kd_lightning.reporting.heatmap import heat_map
from kd_lightning.reporting.run_page import details
from kd_lightning.reporting.runs import MISSING, UNFINISHED, Run
from kd_lightning.reporting.statistics import Paired, Spread, paired, spread
from kd_lightning.reporting.tables import comparison, configurations, jobs, p_value
from kd_lightning.sweeps.status import FAILED, FINISHED, RUNNING

LISTED = 12  # jobs that did not finish; the table has all

STATES = {
    FAILED: "failed",
    RUNNING: "running, or killed",
    UNFINISHED: "begun and not finished",
    MISSING: "not begun",
}


def sweep_page(runs: Collection) -> Content:
    """The page of several runs."""
    shown = runs.selected or best(runs)
    sections = [
        *section("heat-map", "Heat map" if len(runs.keys) > 1 else "By value", heat_map_text(runs), [heat_map(runs)]),
        *compared(runs, shown),
        *section("configurations", "Configurations", configurations_text(runs), [configurations(runs)]),
        *section("runs", "All runs", ALL_RUNS, [parallel_coordinates(runs), of_all(runs), jobs(runs)]),
    ]
    if runs.selected is not None and (finished := [run for run in runs.selected.runs if run.status == FINISHED]):
        sections += of_one(finished[0])
    return Content(title(runs), subtitle(runs), cards(runs, shown), sections, notice(runs))


ALL_RUNS = (
    "First each run as a line through what it was given to the accuracy that it reached, low to high from yellow to "
    "blue; then the validation accuracy of each student after each epoch; then all numbers. The filter keeps the runs "
    "that hold all of its words, in the figures too; a click on a title sorts."
)


def of_one(run: Run) -> list[Section]:
    """The figures of one run of the selected configuration, as parts of one section."""
    text = (
        f"Run {run.name} of the selected configuration, seed {run.seed}; kd-report on another run's folder shows that."
    )
    parts = [replace(one, listed=False) for one in details(run)]
    return [Section("selected-run", "A selected run", text, []), *parts]


def best(runs: Collection) -> Configuration | None:
    """The configuration with the highest mean of what the runs are compared by, of those whose runs all finished."""
    measured = [(found, one) for one in runs.configurations if (found := measure(one, runs.selects_on))]
    whole = [(found, one) for found, one in measured if found.n == len(one.runs)]
    return max(whole or measured, key=lambda pair: pair[0].mean)[1] if measured else None


def measure(configuration: Configuration, metric: str) -> Spread | None:
    return spread(configuration.values("student", metric))


def compared(runs: Collection, shown: Configuration | None) -> list[Section]:
    """Teacher, student alone and distilled student, of the configuration that is shown first."""
    if shown is None:
        return []
    finished = [run for run in shown.runs if run.status == FINISHED]
    which = "The selected configuration" if runs.selected else "The configuration with the highest mean"
    which = which if runs.keys else "All runs"
    number = f"over {len(finished)} seeds, with the standard deviation" if len(finished) > 1 else "of one seed"
    text = f"{which}{f', {shown},' if runs.keys else ''} {number}. {selection(runs)}"
    return section("comparison", "Comparison", text, [comparison(finished)])


def selection(runs: Collection) -> str:
    """What was selected on what."""
    if runs.selected is not None:
        return (
            "It has the highest mean validation accuracy; the test set was read for this configuration's students "
            "alone, after it had been selected."
        )
    if runs.selects_on == "top1":
        return "There is no validation split: accuracies are of the test set, so the best one of many is too high."
    if runs.is_sweep and runs.record is None:
        return "The sweep has not come to its end: nothing has been selected on validation data yet."
    return "Nothing was selected; they are compared on validation data."


def heat_map_text(runs: Collection) -> str:
    outlined = " Orange: the selected configuration." if runs.selected else ""
    return f"Mean {runs.measure} over the seeds, its standard deviation, and of how many runs.{outlined}"


def configurations_text(runs: Collection) -> str:
    single = max(len(one.values("student", runs.selects_on)) for one in runs.configurations) == 1
    more = " There is one seed of each: a spread and a test need more, such as seed=0,1,2." if single else ""
    return (
        "Mean and standard deviation over seeds, with the mean's 95 % interval by Student's t. The gain is over the "
        "student alone of the same seed, p by a two-sided paired t-test; with many configurations some are below 0.05 "
        f"by chance.{more}"
    )


def title(runs: Collection) -> str:
    return f"Sweep {runs.title}" if runs.is_sweep else runs.title


def subtitle(runs: Collection) -> str:
    """The data, the networks, how many runs, and what differs between them."""
    summaries = [run.summary for run in runs.finished if run.summary]
    data = dict.fromkeys(summary["data"]["name"] for summary in summaries)
    students = dict.fromkeys(summary["student"]["model"] for summary in summaries)
    teachers = dict.fromkeys(summary["teacher"]["model"] for summary in summaries if summary["teacher"])
    networks = " and ".join(students) + (f" ← {' and '.join(teachers)}" if teachers else "")
    varied = f"over {', '.join(runs.keys)}" if runs.keys else "of one configuration"
    seeds = len({run.seed for run in runs.runs})
    number = f"{len(runs.runs)} runs {varied}, {seeds} seed{'s' if seeds > 1 else ''}"
    return ". ".join(part for part in (", ".join(data), networks, number) if part) + "."


def cards(runs: Collection, shown: Configuration | None) -> list[Card]:
    """The configuration that is shown first: what it is, what it reached, what distillation brought."""
    if shown is None:
        return []
    found = []
    if runs.keys:
        chosen = "selected on validation data" if runs.selected else "highest mean"
        found.append(Card(chosen, str(shown).replace(" ", "\n"), f"of {len(runs.configurations)} configurations"))
    for metric, name in METRICS.items():
        value = measure(shown, metric)
        if value is not None:
            found.append(Card(name.removesuffix(" %"), f"{100 * value.mean:.2f} %", interval(value)))
    metric = "top1" if shown.pairs("top1") else "top1_validation"
    gain = paired(shown.pairs(metric))
    if gain is not None:
        label = f"gain over the student alone, {'test' if metric == 'top1' else 'validation'}"
        found.append(Card(label, f"{100 * gain.difference.mean:+.2f} points", verdict(gain)))
    return found


def interval(value: Spread) -> str:
    if value.low is None or value.high is None:
        return "one seed: a spread needs more"
    return f"95 % interval {100 * value.low:.2f} to {100 * value.high:.2f}, {value.n} seeds"


def verdict(gain: Paired) -> str:
    if gain.difference.low is None or gain.difference.high is None:
        return "one seed: a test needs more"
    between = f"{100 * gain.difference.low:+.2f} to {100 * gain.difference.high:+.2f}"
    return f"95 % interval {between}, " + ("same in all seeds" if gain.p is None else f"p {p_value(gain.p)}")


def notice(runs: Collection) -> Notice | None:
    """What is missing of the runs, first of all those that failed."""
    missing = {state: [run for run in runs.runs if run.status == state] for state in STATES}
    counts = [f"{len(found)} {STATES[state]}" for state, found in missing.items() if found]
    unknown = (runs.jobs or 0) - len(runs.runs)
    if unknown > 0:
        counts.append(f"{unknown} not begun")
    if not counts:
        return None
    text = f"Incomplete: {len(runs.finished)} of {runs.jobs or len(runs.runs)} runs have finished, {', '.join(counts)}."
    items = [line(runs, run) for found in missing.values() for run in found]
    more = [f"and {len(items) - LISTED} more, in the table of all runs"] if len(items) > LISTED else []
    return Notice(text, items[:LISTED] + more)


def line(runs: Collection, run: Run) -> str:
    """One run that has not finished."""
    given = " ".join(f"{key}={value}" for key, value in {**runs.choices(run), "seed": run.seed}.items())
    return f"{run.name} {STATES[run.status]}: {given}" + (f" ({run.error})" if run.error else "")
