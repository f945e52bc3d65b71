"""What reads runs takes any networks: several students, assistants, no teacher, no baseline, one alone."""

import csv
import io
import shutil
from pathlib import Path

import plotly.graph_objects
import pytest
from rich.console import Console

from kd_lightning.reporting.figures.curves import all_trained
from kd_lightning.reporting.pages.content import Content, Table
from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.reporting.tables.terminal_tables import caption, comparison
from kd_lightning.runs.collections.reading import read
from kd_lightning.runs.folder import read_summary
from kd_lightning.runs.planned import read_planned
from kd_lightning.sweeps.end import conclude
from kd_lightning.sweeps.plan import Plan
from kd_lightning.tracking.outcome import metrics_of, outcome_of
from tests.conftest import Command
from tests.runs.other_plans import ALONE, CHAIN, MUTUAL, PLANS, OtherPlan, replanned, replanned_sweep

plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
OF_DISTILLATION = ("teacher", "student alone", "distilled", "scratch")


def figures(page: Content) -> dict[str, plotly.graph_objects.Figure]:
    return {
        section.id: plotly.graph_objects.Figure(content)
        for section in page.sections
        for content in section.contents
        if isinstance(content, dict) and "data" in content
    }


def tables(page: Content) -> dict[str, Table]:
    return {section.id: part for section in page.sections for part in section.contents if isinstance(part, Table)}


def titles(plan: OtherPlan) -> list[str]:
    return [part.title for _, part in plan.parts.values()]


def escaped(text: str) -> str:
    return text.replace("<", "&#60;").replace(">", "&#62;")


@plans
def test_a_page_has_each_network_by_its_title(plan: OtherPlan, run_folder: Path, command: Command) -> None:
    summary = replanned(run_folder, plan)
    outcome = command("kd-report", "run", "--format=html,csv,markdown")
    assert (outcome.code, outcome.errors) == (0, "")
    page = run_page(read([run_folder]).runs[0])
    assert tables(page)["comparison"].titles == ["", *titles(plan)]
    [row] = csv.DictReader(io.StringIO((run_folder / "report.csv").read_text()))
    for name in plan.parts:
        assert float(row[f"{name}_top1"]) == summary.records[name]["top1"]  # type: ignore[index]
    drawn, shown = figures(page), {*map(escaped, titles(plan))}
    assert {line.name.partition(" (")[0] for line in drawn["reliability"].data[1:]} - {"None"} >= shown
    assert len(drawn["confusion"].data) == len(plan.parts)
    assert ("gain" in drawn) == (plan.baseline is not None)
    assert ("knowledge" in drawn) == (plan is CHAIN)
    assert ("cost" in drawn) == (len(plan.parts) > 1)
    if "cost" in drawn:
        colours = {point.name: point.marker.color for point in drawn["cost"].data}
        assert {*colours} == shown
        assert len({*colours.values()}) == len(shown), "each has a colour of its own"
    curves = {line.name for line in drawn["curves"].data}
    assert curves == shown
    notes = [card.note for card in page.cards if card.label.startswith("teacher")]
    assert notes == ([""] if plan is CHAIN else []), "of three others, nothing tells with which of them it agrees"
    if plan is not CHAIN:
        text = f"{page.title} {[card.label for card in page.cards]} {[one.text for one in page.sections]}"
        assert not any(word in text for word in OF_DISTILLATION[1:])


@plans
def test_a_terminals_table_has_a_column_for_each(plan: OtherPlan, run_folder: Path) -> None:
    summary = replanned(run_folder, plan)
    console = Console(width=300, markup=False, record=True, file=io.StringIO())
    console.print(comparison(summary))
    console.print(caption(summary))
    text = console.export_text()
    assert all(title in text for title in titles(plan))
    assert ("Distillation: " in text) == (plan is CHAIN)
    assert ("The teacher" in text) == (plan is CHAIN), "which is worse than the student alone"


@plans
def test_loggers_show_each_network_under_its_name(plan: OtherPlan, run_folder: Path) -> None:
    summary = replanned(run_folder, plan)
    outcome = outcome_of(summary, {})
    assert [row[0] for row in outcome.table()] == [*plan.parts]
    metrics = metrics_of(summary)
    assert metrics["test/top1"] == summary.result.record["top1"]
    assert ("gain/top1" in metrics) == (plan.baseline is not None)
    for name in plan.parts:
        measured = "params" if name == plan.result else "top1"
        assert metrics[f"{name}/{measured}"] == summary.records[name][measured]  # type: ignore[index]


def test_learners_of_one_training_have_their_own_curves(run_folder: Path) -> None:
    before = {one.name: one for one in all_trained(read([run_folder]).runs[0])}
    replanned(run_folder, MUTUAL)
    first, second = all_trained(read([run_folder]).runs[0])
    for learner, was in ((first, before["student"]), (second, before["scratch"])):
        expected = was.rows["val/top1"].dropna().tolist()
        assert learner.rows[f"{learner.before}top1"].dropna().tolist() == expected
    assert first.colour != second.colour
    (run_folder / "summary.json").unlink()
    run = read([run_folder]).runs[0]
    assert [one.name for one in all_trained(run)] == ["first", "second"], "of a run that has not finished, too"
    assert figures(run_page(run))["curves"].data


def test_members_of_an_ensemble_have_their_curves(run_folder: Path) -> None:
    for number in range(2):
        shutil.copytree(run_folder / "teacher", run_folder / f"teacher_{number}")
    shutil.copytree(run_folder / "scratch", run_folder / "initialization")
    lines = {line.name: line.line for line in figures(run_page(read([run_folder]).runs[0]))["curves"].data}
    assert {*lines} == {"distilled student", "teacher", "student alone", "teacher_0", "teacher_1"}
    assert lines["teacher_0"].color == lines["teacher"].color
    assert lines["teacher_0"].width < lines["teacher"].width


@plans
def test_a_sweeps_page_follows_its_plan(plan: OtherPlan, sweep: Path, tmp_path: Path, command: Command) -> None:
    folder = replanned_sweep(Path(shutil.copytree(sweep, tmp_path / "sweep")), plan)
    outcome = command("kd-report", "sweep", "--format=html,csv,markdown")
    assert (outcome.code, outcome.errors) == (0, "")
    runs = read([folder])
    page = sweep_page(runs)
    assert tables(page)["comparison"].titles == ["", *titles(plan)]
    assert runs.selected is not None
    assert len(figures(page)["runs"].data) == 16
    gains = [title for title in tables(page)["configurations"].titles if title.startswith("gain")]
    assert bool(gains) == (plan.baseline is not None)
    text = " ".join(section.text for section in page.sections)
    assert ("student alone" in text) == (plan.baseline is not None)
    assert {"mutual": "each student", "assistants": "each student", "alone": "each baseline"}[plan.name] in text
    assert f"{plan.result}_top1_validation" in (folder / "report.csv").read_text().splitlines()[0]


@plans
def test_a_sweep_ends_with_what_it_is_about(plan: OtherPlan, sweep: Path, tmp_path: Path) -> None:
    folder = replanned_sweep(Path(shutil.copytree(sweep, tmp_path / "sweep")), plan)
    before = (folder / "sweep.json").read_text()
    (folder / "sweep.json").unlink()
    planned = read_planned(folder)
    assert planned is not None
    console = Console(width=200, markup=False, record=True, file=io.StringIO())
    assert conclude(Plan(folder, planned, ("temperature", "alpha", "loss.ce.weight", "seed")), console)
    assert (folder / "sweep.json").read_text() == before
    assert f"of the {plan.parts[plan.result][1].role.value}" in console.export_text()


def test_runs_of_several_plans_stand_in_one_table(run_folder: Path, finished: Path, tmp_path: Path) -> None:
    replanned(run_folder, MUTUAL)
    alone = Path(shutil.copytree(finished, tmp_path / "alone"))
    replanned(alone, ALONE)
    runs = read([finished, run_folder, alone])
    assert tables(sweep_page(runs))["comparison"].titles[1:4] == ["teacher", "student alone", "distilled student"]
    assert len(runs.measured) == 3
    summary = read_summary(alone)
    assert summary is not None
    assert runs.measured[2][1] == summary.result.record["top1_validation"]
