"""What is shown of one run."""

from collections.abc import Iterator, Mapping
from typing import Any

from kd_lightning.columns import Compared, Measure
from kd_lightning.reporting.figures.cost import result_over_cost
from kd_lightning.reporting.figures.curves import loss_terms, validation
from kd_lightning.reporting.figures.stored import read_figures
from kd_lightning.reporting.pages.classification import classification
from kd_lightning.reporting.pages.content import Card, Cell, Content, Notice, Section, Table, section
from kd_lightning.reporting.tables.page_tables import comparison, objective
from kd_lightning.reporting.tables.terminal_tables import caption
from kd_lightning.runs.run import DAMAGED, Run
from kd_lightning.runs.status import FAILED
from kd_lightning.system.records import Each, sound_record, warn_of_absent


def run_page(run: Run) -> Content:
    """A run's page, of whatever has been written so far."""
    if run.summary is None:
        stands = {FAILED: "failed", DAMAGED: "cannot be read as a whole"}.get(run.status, "has not finished")
        text = f"This run {stands}; its curves end where it stopped."
        return Content(run.name, choices(run), [], curves(run), Notice(text, [run.error] if run.error else []))
    networks = comparison([run])
    sections = section("comparison", "Comparison", caption(run.summary), [networks])
    return Content(title(run), choices(run), cards(run), [*sections, *details(run), *setup(run)])


def details(run: Run) -> list[Section]:
    """All figures of one run."""
    return [*curves(run), *evaluation(run)]


def curves(run: Run) -> list[Section]:
    text = "Left each term of the loss by itself, right times its weight: what the total is made of."
    found = section("terms", "Training by term", text, [loss_terms(run)])
    text = "After each epoch, on the data that the run validates on. What an earlier run trained has its curves there."
    return found + section("curves", "Validation", text, [validation(run)])


def evaluation(run: Run) -> list[Section]:
    """What the test said: the figures of its task, those that a task of the user's own drew, and what it costs."""
    if run.compared is None:
        return []
    measure = compared_on(run, run.compared)
    better = "Up" if measure.column.higher_is_better else "Down"
    cost = f"{better} is better, left is cheaper. Parameters and FLOPs are on logarithmic scales."
    return [
        *classification(run),
        *drawn(run),
        *section("cost", "Cost", cost, [result_over_cost(run, measure)]),
    ]


def drawn(run: Run) -> list[Section]:
    """The figures that the task drew as the run ended, each by its title."""
    figures = read_figures(run.folder)
    return [one for at, (title, made) in enumerate(figures.items()) for one in section(f"own-{at}", title, "", [made])]


def compared_on(run: Run, compared: Compared) -> Measure:
    """What selects, on the test data where the student was tested, else on the validation data."""
    return compared.test if run.metric("student", compared.test.name) is not None else compared.validation


def setup(run: Run) -> list[Section]:
    """What was minimised, and where it ran."""
    return section("setup", "Setup", " ".join(cost_of_training(run.summary or {})), [objective(run), environment(run)])


def cost_of_training(summary: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on its curriculum, time and memory."""
    if curriculum := dict((summary.get("data") or {}).get("curriculum") or {}):
        name, settings = curriculum.pop("name"), one_line(curriculum)
        yield f"The student's samples were drawn by the curriculum {name}{f' ({settings})' if settings else ''}."
    if time := summary.get("time"):
        yield f"{time['fit_s']:.0f} s of training, {time['images_per_s']:,.0f} images a second."
    taken = {"in memory": "peak_rss_gib", "on the GPU": "peak_gpu_gib"}
    peaks = {where: (summary.get("memory") or {}).get(name) for where, name in taken.items()}
    if known := [f"{peak:.1f} GiB {where}" for where, peak in peaks.items() if peak]:
        yield f"At most {' and '.join(known)}."


def environment(run: Run) -> Table | None:
    """environment.json, a line for each of its values."""
    path, consequence = run.folder / "environment.json", "what it ran on is left out"
    if run.summary is not None:
        warn_of_absent(path, consequence)
    found = sound_record(path, Each(object), consequence)
    if found is None:
        return None
    rows = [[Cell(name), Cell(text)] for name, value in found.items() if (text := one_line(value))]
    return Table(["", "environment"], [False, False], rows)


def one_line(value: Any) -> str:
    """A value of JSON as text; nothing for what is empty."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, inner in value.items() if (text := one_line(inner)))
    if isinstance(value, list):
        return " ".join(map(one_line, value))
    return "" if value is None else str(value)


def title(run: Run) -> str:
    summary = run.summary or {}
    student, teacher = summary["student"]["model"], (summary["teacher"] or {}).get("model")
    return f"{student} ← {teacher}, {summary['data']['name']}" if teacher else f"{student}, {summary['data']['name']}"


def choices(run: Run) -> str:
    """Where the run is, its seed, and what it was given."""
    given = " ".join(f"{key}={value}" for key, value in run.overrides.items() if not key.startswith(("hydra", "seed")))
    return ", ".join(part for part in (run.name, f"seed {run.seed}", given) if part)


def measured_part(run: Run, measure: Measure) -> str:
    """Such as `, first 10 of 900 images,`; nothing where the student was measured on all."""
    found = ((run.summary or {}).get("student") or {}).get(f"part{measure.end}")
    return f", {found} images," if found else ""


def cards(run: Run) -> list[Card]:
    """The numbers first looked for: the student's, what distillation brought, the teacher's, what is saved."""
    return [*(results(run, run.compared) if run.compared else []), *savings(run)]


def results(run: Run, compared: Compared) -> list[Card]:
    measure = compared_on(run, compared)
    column, where = measure.column, f"{measure.split}{measured_part(run, measure)}"
    student, scratch, teacher = (run.metric(role, measure.name) for role in ("student", "scratch", "teacher"))
    found = []
    if student is not None:
        model = (run.summary or {})["student"]["model"]
        found.append(Card(f"student, {where} {column.label}", column.with_unit(student), model))
    if student is not None and scratch is not None:
        note = f"alone {column.with_unit(scratch)}; one seed, a spread needs more"
        gain = column.difference(column.sign * (student - scratch))
        found.append(Card("gain over the student alone", gain, note))
    if teacher is not None:
        found.append(Card(f"teacher, {where} {column.label}", column.with_unit(teacher), agreement(run, compared)))
    return found


def agreement(run: Run, compared: Compared) -> str:
    """How much the student agrees with the teacher, in words; nothing where it was not measured."""
    value = run.metric("student", "agreement")
    column = next((column for column in compared.columns if column.name == "agreement"), None)
    if value is None or column is None:
        return ""
    if column.is_share and column.higher_is_better:
        return f"the student agrees with it on {100 * value:.1f}\u00a0%"
    return f"the student's {column.label}: {column.with_unit(value)}"


def savings(run: Run) -> list[Card]:
    """The student's parameters beside the teacher's."""
    sizes = run.metric("teacher", "params"), run.metric("student", "params")
    if not (sizes[0] and sizes[1]):
        return []
    share = f"{100 * sizes[1] / sizes[0]:.3g} %"
    return [Card("of the teacher's parameters", share, f"{sizes[1]:,} of {sizes[0]:,}")]
