"""What is missing of several runs."""

from kd_lightning.reporting.pages.content import Notice
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.run import DAMAGED, MISSING, UNFINISHED, Run
from kd_lightning.runs.status import FAILED, RUNNING

LISTED = 12  # jobs that did not finish; the table has all

STATES = {
    FAILED: "failed",
    RUNNING: "running, or killed",
    UNFINISHED: "begun and not finished",
    MISSING: "not begun",
    DAMAGED: "damaged",
}


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
