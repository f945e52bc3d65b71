"""What is shown of one run."""

from collections.abc import Iterator, Sequence
from typing import Any

from kd_lightning.columns import Compared, Measure
from kd_lightning.reporting.figures.cost import result_over_cost
from kd_lightning.reporting.figures.curves import loss_terms, validation
from kd_lightning.reporting.figures.stored import read_figures
from kd_lightning.reporting.pages.chain import chain
from kd_lightning.reporting.pages.classification import classification
from kd_lightning.reporting.pages.content import Card, Cell, Content, Notice, Section, Table, section
from kd_lightning.reporting.pages.curriculum import curriculum
from kd_lightning.reporting.tables.page_tables import comparison, objective, route, stages
from kd_lightning.reporting.tables.terminal_tables import caption
from kd_lightning.runs.files import ENVIRONMENT
from kd_lightning.runs.run import DAMAGED, Run
from kd_lightning.runs.status import FAILED
from kd_lightning.runs.summary import Network, Role, Summary
from kd_lightning.system.records import Each, sound_record, warn_of_absent


def run_page(run: Run) -> Content:
    """A run's page, of whatever has been written so far."""
    if run.summary is None:
        stands = {FAILED: "failed", DAMAGED: "cannot be read as a whole"}.get(run.status, "has not finished")
        text = f"This run {stands}; its curves end where it stopped."
        return Content(
            run.name, choices(run), [], [*curves(run), *curriculum(run)], Notice(text, [run.error] if run.error else [])
        )
    networks = comparison([run])
    sections = section("comparison", "Comparison", caption(run.summary), [networks])
    title = f"{lineage([run.summary])}, {run.summary.data['name']}"
    return Content(title, choices(run), cards(run, run.summary), [*sections, *details(run), *setup(run)])


def details(run: Run) -> list[Section]:
    """All figures of one run."""
    linked = [] if run.compared is None else chain(run, compared_on(run, run.compared))
    return [*linked, *curves(run), *curriculum(run), *evaluation(run)]


def curves(run: Run) -> list[Section]:
    text = "Left each term of the loss by itself, right times its weight: what the total is made of."
    found = section("terms", "Training by term", text, [loss_terms(run)])
    text = "After each epoch, on the data that the run validates on. What an earlier run trained has its curves there."
    found += section("curves", "Validation", text, [validation(run)])
    text = "What the teacher was early in its own training, then later: one anchor at a time was learned from."
    found += section("route", "Route", text, [route(run)])
    text = "What each stage learned before the whole student did. What an earlier run trained is not here."
    return found + section("stages", "Stage by stage", text, [stages(run)])


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
    """What selects, on the test data where what the run is about was tested, else on the validation data."""
    return compared.test if run.reached(compared.test.name) is not None else compared.validation


def setup(run: Run) -> list[Section]:
    """What was minimised, and where it ran."""
    text = "" if run.summary is None else " ".join(cost_of_training(run.summary))
    return section("setup", "Setup", text, [objective(run), environment(run)])


def cost_of_training(summary: Summary) -> Iterator[str]:
    """Sentences on its curriculum, time and memory."""
    if given := dict(summary.data.get("curriculum") or {}):
        name, settings = given.pop("name"), one_line(given)
        called = summary.called(summary.result)
        yield f"The {called}'s samples were drawn by the curriculum {name}{f' ({settings})' if settings else ''}."
    if time := summary.time:
        yield f"{time['fit_s']:.0f} s of training, {time['images_per_s']:,.0f} images a second."
    taken = {"in memory": "peak_rss_gib", "on the GPU": "peak_gpu_gib"}
    peaks = {where: summary.memory.get(name) for where, name in taken.items()}
    if known := [f"{peak:.1f} GiB {where}" for where, peak in peaks.items() if peak]:
        yield f"At most {' and '.join(known)}."


def environment(run: Run) -> Table | None:
    """environment.json, a line for each of its values."""
    path, consequence = run.folder / ENVIRONMENT, "what it ran on is left out"
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


def lineage(summaries: Sequence[Summary]) -> str:
    """The models of runs: the students, the assistants between where there are some, the teachers."""
    of_roles = [[one.of(role) for one in summaries] for role in (Role.STUDENT, Role.ASSISTANT, Role.TEACHER)]
    models = [dict.fromkeys(one.record["model"] for found in role for one in found) for role in of_roles]
    if not models[0]:  # such as a teacher alone
        return " and ".join(dict.fromkeys(one.result.record["model"] for one in summaries))
    return " ← ".join(" and ".join(found) for found in models if found)


def choices(run: Run) -> str:
    """Where the run is, its seed, and what it was given."""
    given = " ".join(f"{key}={value}" for key, value in run.overrides.items() if not key.startswith(("hydra", "seed")))
    return ", ".join(part for part in (run.name, f"seed {run.seed}", given) if part)


def measured_part(run: Run, measure: Measure) -> str:
    """Such as `, first 10 of 900 images,`; nothing where the network that it is about was measured on all."""
    found = None if run.summary is None else run.summary.result.record.get(f"part{measure.end}")
    return f", {found} images," if found else ""


def cards(run: Run, summary: Summary) -> list[Card]:
    """The numbers first looked for: the result's, what distillation brought, the teachers', what is saved."""
    return [*(results(run, summary, summary.compared) if summary.compared else []), *savings(summary)]


def results(run: Run, summary: Summary, compared: Compared) -> list[Card]:
    measure, result, baseline = compared_on(run, compared), summary.result, summary.baseline
    column, where = measure.column, f"{measure.split}{measured_part(run, measure)}"
    reached = {one.name: value for one in summary.networks if (value := one.record.get(measure.name)) is not None}

    def card(network: Network, note: str) -> Iterator[Card]:
        if network.name in reached:
            label = f"{summary.called(network)}, {where} {column.label}"
            yield Card(label, column.with_unit(reached[network.name]), note)

    found = [*card(result, result.record["model"])]
    gains = {one.name: other for one, other in summary.gains() if {one.name, other.name} <= reached.keys()}

    def gain(network: Network) -> Iterator[Card]:
        if (other := gains.get(network.name)) is not None:
            called = "alone" if other.role is Role.BASELINE else other.title
            note = f"{called} {column.with_unit(reached[other.name])}; one seed, a spread needs more"
            more = column.difference(column.sign * (reached[network.name] - reached[other.name]))
            yield Card(f"gain over the {other.title}", more, note)

    found += gain(result)
    for student in summary.of(Role.STUDENT):
        found += [*card(student, student.record["model"]), *gain(student)] if student != result else ()
    teachers = [one for one in summary.of(Role.TEACHER) if one != result]
    others = [one for one in summary.networks if one not in (result, baseline) and one.role is not Role.MEMBER]
    for teacher in teachers:  # of several others, nothing tells which of them the agreement is with
        found += card(teacher, agreement(summary, compared) if len(others) == 1 else "")
    return found


def agreement(summary: Summary, compared: Compared) -> str:
    """How much the result agrees with the teacher, in words; nothing where it was not measured."""
    value, called = summary.result.record.get("agreement"), summary.called(summary.result)
    column = next((column for column in compared.columns if column.name == "agreement"), None)
    if value is None or column is None:
        return ""
    if column.is_share and column.higher_is_better:
        return f"the {called} agrees with it on {100 * value:.1f}\u00a0%"
    return f"the {called}'s {column.label}: {column.with_unit(value)}"


def savings(summary: Summary) -> list[Card]:
    """The result's parameters beside those of each teacher."""
    own = summary.result.record.get("params")
    return [
        Card(f"of the {one.title}'s parameters", f"{100 * own / params:.3g} %", f"{own:,} of {params:,}")
        for one in summary.of(Role.TEACHER)
        if own and (params := one.record.get("params")) and one != summary.result
    ]
