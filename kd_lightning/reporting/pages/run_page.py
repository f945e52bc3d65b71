"""What is shown of one run."""

from collections.abc import Iterator, Mapping
from typing import Any

from kd_lightning.reporting.figures.calibration import reliability
from kd_lightning.reporting.figures.classes import EXTREMES, MANY, WHOLE, WORST, confusions, gain_by_class
from kd_lightning.reporting.figures.cost import accuracy_over_cost
from kd_lightning.reporting.figures.curves import loss_terms, validation
from kd_lightning.reporting.figures.knowledge import beyond_the_label
from kd_lightning.reporting.pages.content import Card, Cell, Content, Notice, Section, Table, section
from kd_lightning.reporting.tables.page_tables import commonest_confusions, comparison, objective
from kd_lightning.reporting.tables.terminal_tables import caption
from kd_lightning.runs.run import DAMAGED, Run
from kd_lightning.runs.status import FAILED
from kd_lightning.system.records import Each, sound_record


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
    """What the test said, class by class."""
    metric = "top1" if run.metric("student", "top1") is not None else "top1_validation"
    confused = "In per cent of each true class, on the test set; the diagonal is what is right."
    classes = len(run.arrays.get("class_names", ()))
    if classes > WHOLE:
        does = "recalls least" if classes <= MANY else "confuses most often"
        confused += (
            f" Of all {classes:,} classes the {WORST} that the last of these networks {does}; below, its commonest "
            "confusions of all classes. evaluation.npz holds them all."
        )
    gained = (
        "Recall on the test set, distilled student minus student alone. Classes of few images move by chance: compare "
        "over seeds before you conclude."
    )
    if classes > MANY:
        gained += f" Of all {classes:,} classes the {EXTREMES} that gain most and the {EXTREMES} that lose most."
    reliable = (
        "On the dotted diagonal a network is right as often as it says. Below it is too sure, above it not sure "
        "enough. Right: how its confidences are spread."
    )
    knowledge = (
        "Left: what the teacher gives on the mean to a class beside the true one, at temperature 1. Right: the mean "
        "entropy of its probabilities over the temperature; the dotted line is that of knowing nothing."
    )
    cost = "Up is better, left is cheaper. Parameters and FLOPs are on logarithmic scales."
    return [
        *section("confusion", "Confusion", confused, [confusions(run), commonest_confusions(run)]),
        *section("gain", "Gain by class", gained, [gain_by_class(run)]),
        *section("reliability", "Reliability", reliable, [reliability(run)]),
        *section("knowledge", "What the teacher knows", knowledge, [beyond_the_label(run)]),
        *section("cost", "Cost", cost, [accuracy_over_cost(run, metric)]),
    ]


def setup(run: Run) -> list[Section]:
    """What was minimised, and where it ran."""
    return section("setup", "Setup", " ".join(cost_of_training(run.summary or {})), [objective(run), environment(run)])


def cost_of_training(summary: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on its time and memory."""
    if time := summary.get("time"):
        yield f"{time['fit_s']:.0f} s of training, {time['images_per_s']:,.0f} images a second."
    taken = {"in memory": "peak_rss_gib", "on the GPU": "peak_gpu_gib"}
    peaks = {where: (summary.get("memory") or {}).get(name) for where, name in taken.items()}
    if known := [f"{peak:.1f} GiB {where}" for where, peak in peaks.items() if peak]:
        yield f"At most {' and '.join(known)}."


def environment(run: Run) -> Table | None:
    """environment.json, a line for each of its values."""
    found = sound_record(run.folder / "environment.json", Each(object), "what it ran on is left out")
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


def measured_part(run: Run, metric: str) -> str:
    """Such as `, first 10 of 900 images,`; nothing where the student was measured on all."""
    found = ((run.summary or {}).get("student") or {}).get(metric.replace("top1", "part"))
    return f", {found} images," if found else ""


def cards(run: Run) -> list[Card]:
    """The numbers first looked for: the student's, what distillation brought, the teacher's, what is saved."""
    metric, where = ("top1", "test") if run.metric("student", "top1") is not None else ("top1_validation", "validation")
    student, scratch, teacher = (run.metric(role, metric) for role in ("student", "scratch", "teacher"))
    where += measured_part(run, metric)
    found = []
    if student is not None:
        found.append(Card(f"student, {where} top-1", f"{100 * student:.2f} %", (run.summary or {})["student"]["model"]))
    if student is not None and scratch is not None:
        note = f"alone {100 * scratch:.2f} %; one seed, a spread needs more"
        found.append(Card("gain over the student alone", f"{100 * (student - scratch):+.2f} points", note))
    if teacher is not None:
        agreement = run.metric("student", "agreement")
        note = "" if agreement is None else f"the student agrees with it on {100 * agreement:.1f}\u00a0%"
        found.append(Card(f"teacher, {where} top-1", f"{100 * teacher:.2f} %", note))
    sizes = run.metric("teacher", "params"), run.metric("student", "params")
    if sizes[0] and sizes[1]:
        found.append(
            Card("of the teacher's parameters", f"{100 * sizes[1] / sizes[0]:.3g} %", f"{sizes[1]:,} of {sizes[0]:,}")
        )
    return found
