"""What users name is shown as they typed it: in the terminal, on the page, in Markdown and TensorBoard."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_lightning.data.folders.decoded import progress_bar
from kd_lightning.reporting.figures.style import as_text
from kd_lightning.reporting.pages.content import Table
from kd_lightning.reporting.pages.page import render
from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.reporting.tables.export import as_markdown
from kd_lightning.runs.collections.reading import read
from kd_lightning.terminal import say
from kd_lightning.tracking.confusions import Confusions
from kd_lightning.tracking.markdown import as_text as in_markdown
from kd_lightning.tracking.tensorboard.figures import confusion_figure
from tests.conftest import Command
from tests.reporting.test_report import selected_run

NAMES = ("[red]x[/red]", "[/]", "[a]", ":smile:", "[link=http://a.b]y[/]", "\\[b]", "$x^2$", "%{x}", "a&lt;b")
TAGS = ("<b>x</b>", "<br>", "</script><script>alert(1)</script>", '<a href="http://a.b">y</a>')
QUICK = ("teacher.weights=null", "scratch=false", "trainer.max_epochs=1", "trainer.limit_train_batches=2")


@pytest.mark.parametrize("name", [*NAMES, *TAGS])
def test_the_terminal_shows_a_line_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(name, name)
    assert capsys.readouterr().out == f"{name:<14} {name}\n"


def test_a_run_and_a_sweep_show_folders_and_values_as_they_were_typed(command: Command, tmp_path: Path) -> None:
    values = "loss=[ce,kd],[ce,kd,dist]"
    outcome = command("kd-train", "-m", *QUICK, values, "hydra.sweep.dir='[red]x[/red]/[a]'", "test=false")
    assert outcome.code == 0, outcome.errors
    table = outcome.output[outcome.output.index("configuration") :]
    for loss in ("[ce,kd]", "[ce,kd,dist]"):
        assert sum(f"loss={loss}" in line for line in table.splitlines()) == 1, table
    assert outcome.output.rstrip().endswith("kd-report [red]x[/red]/[a]")
    again = command("kd-train", *QUICK, "hydra.run.dir='[bold]r[/]'", "teacher=none", "loss=ce")
    assert again.output.rstrip().endswith("[bold]r[/]")


ODD_NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("[red]c[/red]", nn.Conv2d(1, 8, 3))
        self.add_module("[b]fc[/]", nn.Linear(8, 4))
    def forward(self, x):
        return getattr(self, "[b]fc[/]")(getattr(self, "[red]c[/red]")(x).mean((2, 3)))
"""


def test_kd_inspect_and_kd_cache_show_names_as_they_are(command: Command, tmp_path: Path) -> None:
    (tmp_path / "odd_net.py").write_text(ODD_NET)
    shown = command(
        "kd-inspect", "student.model={_target_: odd_net.Net}", "student.input_size=[1,8,8]", "num_classes=4"
    )
    assert shown.code == 0, shown.errors
    assert "[red]c[/red]" in shown.output
    assert "[b]fc[/]" in shown.output
    folder = tmp_path / "[red]c[" / "networks" / "[b]n[]"
    folder.mkdir(parents=True)
    listed = command("kd-cache", "--dir", str(tmp_path / "[red]c["), "ls")
    assert "[b]n[]" in listed.output
    assert "[red]c[" in listed.output


def test_a_progress_bar_shows_a_folder_as_it_is() -> None:
    bar = progress_bar()
    bar.add_task("decoding /data/[red]x[/red]/:smile:")
    (description, *_) = bar.columns
    assert str(description(bar.tasks[0])) == "decoding /data/[red]x[/red]/:smile:"


def texts(value: Any) -> Iterator[str]:
    """All strings of a figure that are shown."""
    if isinstance(value, dict):
        value = [inner for name, inner in value.items() if name not in ("legendgroup", "meta")]
    if isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    if isinstance(value, str):
        yield value


@pytest.fixture
def odd_run(sweep: Path, tmp_path: Path) -> Path:
    """A finished run of classes, terms and models with such names."""
    run = selected_run(sweep, tmp_path)
    path = run / "evaluation.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    names = [*NAMES, *TAGS]
    arrays["class_names"] = np.array([names[i] for i in range(len(arrays["class_names"]))])
    np.savez(path, **arrays)
    summary = json.loads((run / "summary.json").read_text())
    summary["data"]["name"], summary["student"]["model"] = "<i>digits</i>", "<b>Net</b>"
    summary["objective"]["<u>t</u>"] = summary["objective"].pop("kd")
    (run / "summary.json").write_text(json.dumps(summary))
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("train/kd", "train/<u>t</u>"))
    return run


def test_plotly_is_given_nothing_to_interpret(odd_run: Path) -> None:
    content = run_page(read([odd_run]).runs[0])
    figures = [one for part in content.sections for one in part.contents if not isinstance(one, Table)]
    shown = {text for figure in figures for text in texts(figure)}
    plain = {html.unescape(text) for text in shown}
    for name in [*NAMES, *TAGS][:10]:
        assert name in plain, name
    assert "<u>t</u>" in plain
    ours = [text for text in shown if re.search(r"&#\d+;", text)]
    assert ours
    assert not any(
        re.search(r"[<>$%{}]|&(?!#\d+;)", text) for text in ours if "→" in text or text in map(as_text, NAMES)
    )
    assert not any(tag in text for tag in ("<b>x", "<a ", "</script", "<u>") for text in shown)


def test_the_page_holds_user_text_as_text(odd_run: Path) -> None:
    page = render(run_page(read([odd_run]).runs[0]))
    head = page[: page.index("<footer>")]
    assert "&lt;b&gt;Net&lt;/b&gt;" in head
    for raw in ("<b>Net", "<i>digits", "<u>t", "<script>alert"):
        assert raw not in head, raw


def test_a_sweep_over_odd_values_has_them_as_text(sweep: Path, tmp_path: Path) -> None:
    runs = read([sweep])
    for number, run in enumerate(runs.runs):
        run.overrides["loss"] = ("[<b>ce</b>,kd]", "%{x}|$y$")[number % 2]  # type: ignore[index]
    page = sweep_page(runs)
    figures = [one for part in page.sections for one in part.contents if not isinstance(one, Table)]
    drawn = [text for figure in figures if "data" in figure for text in texts(figure)]
    assert not any("<b>ce" in text or "$y" in text or "%{x}|" in text for text in drawn)
    assert any("[&#60;b&#62;ce" in text for text in drawn)
    markdown = as_markdown(runs)
    assert "[\\<b>ce\\</b>,kd]" in markdown
    assert "%{x}\\|$y$" in markdown


@pytest.mark.parametrize(
    "text", ["plain_name a.b=1", "gain, 3 * 4", "<b>", "`x`", "[a](b)", "a|b", "&lt;", "~~x~~", "_x_"]
)
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    """By CommonMark a backslash before punctuation is that sign as it is; what is not escaped may not be syntax."""
    escaped = in_markdown(text)
    assert re.sub(r"\\([^a-z\s])", r"\1", escaped) == text
    bare = re.sub(r"\\[^a-z\s]", "", escaped)
    assert not re.search(r"[<`*|~]|\]\(|&\w+;|\b_|_\b(?!\w)", bare)


def test_formulas_in_class_names_are_no_formulas_in_figures() -> None:
    figure = confusion_figure(Confusions(np.array([[0, 0, 1]]), 3), ["$\\frac$", "$x$", "plain"])
    figure.canvas.draw()  # a broken formula would raise
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][:2] == ["$\\frac$", "$x$"]
