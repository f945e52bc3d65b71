"""What stands at a sweep's end: one configuration, tested, and a table of all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kd_lightning.columns import Column, Measure
from kd_lightning.errors import UserError
from kd_lightning.reporting.tables.curricula import sentence
from kd_lightning.runs.caution import part, teacher_warnings
from kd_lightning.runs.collections.reading import read_sweep
from kd_lightning.runs.collections.statistics import spread
from kd_lightning.runs.files import LOG
from kd_lightning.runs.folder import finished
from kd_lightning.runs.status import FAILED, FINISHED, read_statuses
from kd_lightning.sweeps.job import output_to
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
    if (runs := read_sweep(plan.folder)) is not None and (told := sentence(runs)):
        console.print(told, soft_wrap=True)
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
    from kd_lightning.inference.evaluation import test_run

    done = True
    for name in selected.finished:
        found = finished(folder / name)
        if found is not None and not found.data["tested"]:
            try:
                with output_to(folder / name / LOG):
                    test_run(folder / name)
            except UserError as error:
                warn(f"job {name} is not tested: {error}")
                done = False
    return done


def table(folder: Path, configurations: Sequence[Configuration], selected: Configuration | None) -> Table:
    """The configurations, the best first: what selects, on validation data and of those tested on the test data.

    Beside it what else the task has in the tables of sweeps.
    """
    summaries = {name: finished(folder / name) for one in configurations[:SHOWN] for name in one.finished}
    known = [summary for summary in summaries.values() if summary is not None]
    told = {found for summary in known if (found := summary.compared) is not None}
    compared = told.pop() if len(told) == 1 else None
    roles = {summary.result.role.value for summary in known}
    of = f"the {roles.pop() if len(roles) == 1 else 'network'}"
    title = of if compared is None else f"{compared.selects_on.title} of {of}"
    measures = [] if compared is None else compared.measures()
    result = Table(box=SIMPLE_HEAD, title=title, title_justify="left")
    result.add_column("configuration", overflow="fold")
    for name in ("seeds", *(one.title if place > 1 else one.split for place, one in enumerate(measures))):
        result.add_column(name, justify="right")
    result.add_column("")
    for one in configurations[:SHOWN]:
        networks = [summary.result.record for name in one.finished if (summary := summaries[name]) is not None]
        seen = f"{len(one.finished)}" + (f" of {len(one.runs)}" if len(one.finished) < len(one.runs) else "")
        values = (seen, *(mean_text(of_all(measure, networks), measure.column) for measure in measures))
        mark, style = ("selected", "bold") if one is selected else ("", None)
        result.add_row(str(one), *values, mark, style=style)
    return result


def cautions(folder: Path, shown: Configuration | None) -> list[str]:
    """What a reader of the table has to know: on how much a configuration was measured, and of what teacher."""
    found = [finished(folder / name) for name in (shown.finished if shown else ())]
    summaries = [summary for summary in found if summary is not None]
    measured = [(part(one.result.record, one.data, end), title) for one in summaries for end, title in MEASURED.items()]
    lines = [f"Only the {images} {title} images were measured." for images, title in measured if images]
    warnings = [line for one in summaries for line in teacher_warnings(one)]
    return [*dict.fromkeys((*lines, *warnings))]


def of_all(measure: Measure, networks: list[dict[str, Any]]) -> list[float]:
    """What was measured of each network that has it."""
    return [value for one in networks if (value := one.get(measure.name)) is not None]


def mean_text(values: list[float], column: Column) -> str:
    """The mean with its standard deviation; nothing where nothing was measured."""
    found = spread(values)
    return "" if found is None else found.text(column.text)
