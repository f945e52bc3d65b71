"""What stands at a sweep's end: one configuration, tested, and a table of all."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kd_lightning.errors import UserError
from kd_lightning.reporting.tables.terminal_tables import percent
from kd_lightning.runs.caution import part, teacher_warning
from kd_lightning.runs.folder import finished
from kd_lightning.runs.statistics import spread
from kd_lightning.runs.status import FAILED, FINISHED, read_statuses, text
from kd_lightning.sweeps.job import LOG, output_to
from kd_lightning.sweeps.plan import Plan
from kd_lightning.sweeps.progress import failure
from kd_lightning.sweeps.selection import Configuration, by_configuration, select, write_sweep
from kd_lightning.terminal import warn

MEASURED = {"_validation": "validation", "": "test"}
SHOWN = 20  # configurations; the report has all


def conclude(plan: Plan, console: Console) -> bool:
    """Select, test what was selected, show it all; whether every job has finished."""
    statuses = read_statuses(plan.folder)
    configurations = by_configuration(statuses, plan)
    selected = select(configurations)
    write_sweep(plan, statuses, selected)
    tested = selected is None or test_selected(plan.folder, selected)
    console.print(table(plan.folder, configurations, selected))
    for line in cautions(plan.folder, selected or next(iter(configurations), None)):
        console.print(line)
    if len(configurations) > SHOWN:
        console.print(f"and {len(configurations) - SHOWN} more configurations")
    failed = {name: status for name, status in statuses.items() if status.status == FAILED}
    for name, status in failed.items():
        console.print(failure(name, status, plan), soft_wrap=True)
    console.print(Text.assemble(("report", "bold"), f"  kd-report {plan.folder}"), soft_wrap=True)
    finished = [name for name, status in statuses.items() if status.status == FINISHED]
    return len(finished) >= plan.jobs and not failed and tested


def test_selected(folder: Path, selected: Configuration) -> bool:
    """Test each run of the selected configuration, unless it was tested before; False where one cannot be tested."""
    from kd_lightning.experiment.evaluation import test_run

    done = True
    for name in selected.finished:
        found = finished(folder / name)
        if found is not None and not found["data"]["tested"]:
            try:
                with output_to(folder / name / LOG):
                    test_run(folder / name)
            except UserError as error:
                warn(f"job {name} is not tested: {error}")
                done = False
    return done


def table(folder: Path, configurations: list[Configuration], selected: Configuration | None) -> Table:
    """The configurations, the best first, with the test accuracy of those that were tested."""
    result = Table(box=SIMPLE_HEAD, title="top-1 % of the student", title_justify="left")
    result.add_column("configuration", overflow="fold")
    for title in ("seeds", "validation", "test"):
        result.add_column(title, justify="right")
    result.add_column("")
    for one in configurations[:SHOWN]:
        summaries = [found for name in one.finished if (found := finished(folder / name)) is not None]
        tested = [top1 for found in summaries if (top1 := found["student"]["top1"]) is not None]
        seen = f"{len(one.finished)}" + (f" of {len(one.jobs)}" if len(one.finished) < len(one.jobs) else "")
        values = (seen, *(mean_text(values) for values in (one.validation, tested)))
        mark, style = ("selected", "bold") if one is selected else ("", None)
        result.add_row(text(one.choices), *values, mark, style=style)
    return result


def cautions(folder: Path, shown: Configuration | None) -> list[str]:
    """What a reader of the table has to know: on how much a configuration was measured, and of what teacher."""
    found = [finished(folder / name) for name in (shown.finished if shown else ())]
    summaries = [summary for summary in found if summary is not None]
    measured = [(part(one["student"], one["data"], end), title) for one in summaries for end, title in MEASURED.items()]
    lines = [f"Only the {images} {title} images were measured." for images, title in measured if images]
    warnings = [teacher_warning(one) for one in summaries]
    return [*dict.fromkeys(line for line in (*lines, *warnings) if line)]


def mean_text(accuracies: list[float]) -> str:
    """In per cent, with the standard deviation; nothing where there is none."""
    found = spread(accuracies)
    return "" if found is None else found.text(percent)
