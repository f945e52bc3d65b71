"""kd-report on real runs: its numbers, its formats, and what it says of what is missing."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest

from kd_lightning.reporting.figures.heatmap import heat_map
from kd_lightning.reporting.pages.content import Table
from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.runs.collections.reading import read
from tests.conftest import Command
from tests.experiment.test_train import SHORT, summary

VALIDATION = ("student", "top1_validation")


def interrupted(sweep: Path, folder: Path) -> Path:
    """The sweep as it would be with a failed, a running, an unfinished and a missing job, before its end."""
    shutil.copytree(sweep, folder)
    (folder / "sweep.json").unlink()
    for job, state, error in (("3", "failed", "OutOfMemoryError: 2 GiB"), ("5", "running", None)):
        path = folder / job / "status.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": state, "error": error, "ended": None}))
        (folder / job / "summary.json").unlink()
    (folder / "6" / "summary.json").unlink()
    shutil.rmtree(folder / "15")
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))


def test_help_imports_little(tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["kd-report", "--help"]
from kd_lightning.commands.report import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
heavy = {"torch", "lightning", "pandas", "scipy", "plotly", "jinja2"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "--format" in shown.stdout


def selected_run(sweep: Path, folder: Path) -> Path:
    """A copy of one of the runs that the sweep selected, by itself."""
    run: Path = shutil.copytree(sweep / summary_of(sweep)["selected"]["jobs"][0], folder / "run")
    return run


def summary_of(sweep: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((sweep / "sweep.json").read_text())
    return found


def test_a_run_has_its_page(sweep: Path, tmp_path: Path, command: Command) -> None:
    run = selected_run(sweep, tmp_path)
    outcome = command("kd-report", str(run))
    assert outcome.code == 0, outcome.errors
    assert outcome.output.strip() == str(run / "report.html")
    page = run_page(read([run]).runs[0])
    titles = [section.title for section in page.sections]
    assert titles == [
        *("Comparison", "Training by term", "Validation", "Confusion", "Gain by class", "Reliability"),
        *("What the teacher knows", "Cost", "Setup"),
    ]
    assert page.notice is None
    refused = command("kd-report", str(run), f"--output={run / 'summary.json' / 'below'}")
    assert refused.code == 2
    assert len(refused.error_lines) == 1
    assert "cannot be written" in refused.error_lines[0]


def test_figures_are_valid_and_show_the_runs_numbers(command: Command) -> None:
    options = ("trainer.log_every_n_steps=1", "loss=[ce,kd,attention]", "seed=91")
    folder = command("kd-train", *SHORT, *options).run
    run = read([folder]).runs[0]
    figures = {
        section.id: plotly.graph_objects.Figure(content)
        for section in run_page(run).sections
        for content in section.contents
        if not isinstance(content, Table)
    }
    terms = {(line.name, line.yaxis): np.array(line.y) for line in figures["terms"].data}
    assert {name for name, _ in terms} == {"ce", "kd", "attention", "total loss"}
    weighted = sum(terms[name, "y2"] for name in ("ce", "kd", "attention"))
    np.testing.assert_allclose(weighted, terms["total loss", "y2"], rtol=1e-4)
    curves = {line.name: line.y for line in figures["curves"].data if line.yaxis == "y"}
    assert set(curves) == {"teacher", "student alone", "distilled student"}
    assert max(curves["distilled student"]) == pytest.approx(100 * run.metric(*VALIDATION))
    confusion = figures["confusion"].data[2].customdata
    np.testing.assert_array_equal(confusion, matrix(folder, "student_confusions"))
    gains = figures["gain"].data[0]
    student, scratch = (matrix(folder, f"{role}_confusions") for role in ("student", "scratch"))
    for label, gain in zip(gains.x, gains.y, strict=True):
        assert gain == pytest.approx(100 * (recall(student, int(label)) - recall(scratch, int(label))))
    pairs = figures["knowledge"].data[0]
    soft = matrix(folder, "teacher_soft_labels")
    assert pairs.x[0] == pytest.approx(100 * soft.max())
    assert len(pairs.x) == 12
    assert np.all(np.diff(pairs.x) <= 0)
    assert {point.x[0] for point in figures["cost"].data if point.xaxis == "x"} == {
        summary(folder)[role]["params"] for role in ("teacher", "student")
    }


def matrix(folder: Path, name: str) -> np.ndarray:
    """Rows of evaluation.npz, of a class, another and a value, as a matrix of the ten classes."""
    rows, found = np.load(folder / "evaluation.npz")[name], np.zeros((10, 10))
    found[rows[:, 0].astype(int), rows[:, 1].astype(int)] = rows[:, 2]
    return found


def recall(confusion: np.ndarray, label: int) -> float:
    return float(confusion[label, label] / confusion[label].sum())


def test_a_run_without_a_teacher_or_validation_has_a_page(command: Command) -> None:
    for name, options in {"none": ("teacher=none",), "published": ("data.val_fraction=0", "scratch=false")}.items():
        outcome = command("kd-train", *SHORT[:2], "teacher.model=digits_cnn_4", *options, f"hydra.run.dir={name}")
        assert outcome.code == 0, outcome.errors
        assert "Reliability" in (outcome.folder / name / "report.html").read_text()


def test_a_sweeps_numbers_agree_in_all_formats(sweep: Path, tmp_path: Path, command: Command) -> None:
    outcome = command("kd-report", str(sweep), "--format", "csv,markdown", "--output", str(tmp_path / "out"))
    assert outcome.code == 0, outcome.errors
    jobs = rows(tmp_path / "out")
    assert [job["run"] for job in jobs] == [str(number) for number in range(16)]
    selected = json.loads((sweep / "sweep.json").read_text())["selected"]
    for job in jobs:
        record = summary(sweep / job["run"])
        assert float(job["student_top1_validation"]) == record["student"]["top1_validation"]
        assert (job["selected"] == "True") == (job["run"] in selected["jobs"]) == bool(job["student_top1"])
    markdown = (tmp_path / "out" / "report.md").read_text()
    bold = [line for line in markdown.splitlines() if line.startswith("| **")]
    assert len(bold) == 1, "the selected configuration alone stands out"
    assert f"{100 * selected['validation']:.2f} ±" in bold[0]
    cells = heat_map(read([sweep]))
    assert cells is not None
    assert [parameter["key"] for parameter in cells["parameters"]] == ["temperature", "alpha", "loss.ce.weight"]
    assert all(cell["n"] == 2 for cell in cells["configurations"])
    best = next(cell for cell in cells["configurations"] if cell["selected"])
    assert best["mean"] == pytest.approx(100 * selected["validation"])
    assert best["choices"] == selected["overrides"]


def test_the_students_alone_are_paired_by_seed(sweep: Path) -> None:
    for configuration in read([sweep]).configurations:
        for run, (student, alone) in zip(configuration.runs, configuration.pairs("top1_validation"), strict=True):
            record = summary(run.folder)
            assert (student, alone) == tuple(record[role]["top1_validation"] for role in ("student", "scratch"))


def test_an_interrupted_sweep_says_what_is_missing(sweep: Path, tmp_path: Path, command: Command) -> None:
    folder = interrupted(sweep, tmp_path / "cut")
    outcome = command("kd-report", str(folder), "--format=html,csv,markdown")
    assert outcome.code == 0, outcome.errors
    page = sweep_page(read([folder]))
    assert page.notice is not None
    missing = "1 failed, 1 running, or killed, 1 begun and not finished, 1 not begun"
    assert page.notice.text == f"Incomplete: 12 of 16 runs have finished, {missing}."
    said = {line.partition(" ")[0]: line for line in page.notice.items}
    assert list(said) == ["3", "5", "6", "15"]
    assert "OutOfMemoryError: 2 GiB" in said["3"]
    assert "temperature=4 alpha=0.9 loss.ce.weight=0.5 seed=1" in said["15"]
    for file in ("report.html", "report.md"):
        assert page.notice.text in (folder / file).read_text()
    states = {job["run"]: job["status"] for job in rows(folder)}
    assert [states[job] for job in ("0", "3", "5", "6", "15")] == [
        *("finished", "failed", "running", "unfinished", "not begun")
    ]
    assert "nothing has been selected" in (folder / "report.html").read_text()


def test_several_runs_and_sweeps_stand_side_by_side(sweep: Path, command: Command) -> None:
    untrained = ("teacher.model=digits_cnn_4", "teacher.weights=null", "scratch=false")
    options = ("trainer.max_epochs=1", "temperature=9", "seed=3", "hydra.run.dir=alone")
    folder = command("kd-train", *untrained, *options).folder
    outcome = command("kd-report", "alone", str(sweep), "--format", "html,csv")
    assert outcome.code == 0, outcome.errors
    assert outcome.output.split() == ["report.html", "report.csv"]
    jobs = {job["run"]: job for job in rows(folder)}
    assert len(jobs) == 17
    assert float(jobs["alone"]["temperature"]) == 9
    assert float(jobs["alone"]["loss.ce.weight"]) == pytest.approx(0.1), "by its config: 1 - alpha"
    assert jobs["sweep/3"]["seed"] == "1"


def test_one_seed_says_that_a_spread_needs_more(sweep: Path, command: Command) -> None:
    folder = command("kd-report", str(sweep / "0"), str(sweep / "2"), "--format=html,markdown").folder
    for name in ("report.html", "report.md"):
        assert "a spread and a test need more, such as seed=0,1,2" in (folder / name).read_text()


def test_what_a_killed_job_left_behind_is_shown_as_far_as_it_goes(
    sweep: Path, tmp_path: Path, command: Command
) -> None:
    folder = interrupted(sweep, tmp_path / "cut")
    whole = read([folder]).runs[5].curves
    path = folder / "5" / "metrics.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines]) + "\n7,0.5,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n0.")
    (folder / "6" / "metrics.csv").write_text("\n")
    status = json.loads((folder / "3" / "status.json").read_text())
    status["overrides"] = [override.replace("seed=1", "seed=x") for override in status["overrides"]]
    (folder / "3" / "status.json").write_text(json.dumps(status))
    outcome = command("kd-report", str(folder), "--format=html,csv,markdown")
    assert outcome.code == 0, outcome.errors
    assert next(job["seed"] for job in rows(folder) if job["run"] == "3") == "x"
    runs = read([folder]).runs
    logged = ["step", "train/loss"]
    np.testing.assert_array_equal(runs[5].curves[logged], whole[logged])
    assert runs[6].curves.empty


def test_a_job_of_a_sweep_has_no_page_of_its_own(sweep: Path) -> None:
    assert not list(sweep.glob("*/report.html"))


def empty(folder: Path) -> None:
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "no such folder"]),
        (["empty"], ["empty", "holds no run"]),
        ([], ["kd-report: ", "required", "--help"]),
        (["empty", "--colour"], ["kd-report: ", "--colour"]),
        (["empty", "--format=pdf"], ["--format=pdf", "html, csv, markdown"]),
        (["empty", "--format=html,csv", "--output=report.html"], ["--output=report.html", "folder"]),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: list[str], command: Command, tmp_path: Path) -> None:
    empty(tmp_path)
    outcome = command("kd-report", *arguments)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert all(word in outcome.error_lines[0] for word in words), outcome.error_lines
    assert "Traceback" not in outcome.errors


def test_values_cannot_break_out_of_the_page(sweep: Path, tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(sweep, folder)
    for job in range(16):
        path = folder / str(job) / "status.json"
        record: dict[str, Any] = json.loads(path.read_text())
        record["overrides"].append(f"note=</script><script>alert({job % 2})</script>")
        path.write_text(json.dumps(record))
    assert command("kd-report", str(folder)).code == 0
    assert "<script>alert" not in (folder / "report.html").read_text()
