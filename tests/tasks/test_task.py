"""What a task says: its columns, what is refused, its figures."""

import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, MetricCollection

from kd_lightning import DistillationModule
from kd_lightning.columns import column_from, compared_by
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy
from kd_lightning.reporting.figures.stored import read_figures, write_figures
from kd_lightning.reporting.pages.run_page import cards
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED
from kd_lightning.tasks import Classification, Column, Regression, Task
from tests.additions.addition import HERE
from tests.conftest import Command
from tests.runs.summaries import distilled

QUICK = ("trainer.max_epochs=1", "trainer.limit_train_batches=2", "scratch=false", "teacher.model=digits_cnn_4")


class Distance(MeanMetric):
    def update(self, outputs: Tensor, target: Tensor) -> None:  # type: ignore[override]
        super().update((outputs.argmax(dim=1) - target).abs().float())


class Grades(Task):
    columns = (Column("distance", "mean distance", higher_is_better=False), Column("unmeasured", "nothing"))

    def metrics(self, stage: str) -> MetricCollection:
        return MetricCollection({"distance": Distance()})

    def loss(self) -> nn.Module:
        return CrossEntropy()


def loader(n: int = 12) -> DataLoader[Any]:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(n, 6), torch.arange(n) % 3), batch_size=4)


def trainer(folder: Path) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return Trainer(default_root_dir=folder, max_epochs=1, enable_model_summary=False, **quiet)  # type: ignore[arg-type]


def test_a_module_measures_what_its_task_says(tmp_path: Path) -> None:
    student = nn.Linear(6, 3)
    module, run = DistillationModule(student, nn.Linear(6, 3), task=Grades()), trainer(tmp_path)
    run.fit(module, loader(), loader())
    assert {"train/ce", "val/distance"} <= run.callback_metrics.keys()
    [tested] = run.test(module, loader(), verbose=False)
    x, y = loader().dataset[:]
    assert tested == {"test/distance": pytest.approx(float((student(x).argmax(dim=1) - y).abs().float().mean()))}


def test_the_number_of_classes_is_the_short_form(tmp_path: Path) -> None:
    torch.manual_seed(1)
    student = nn.Linear(6, 3)
    [short], [long] = (
        trainer(tmp_path).test(DistillationModule(student, **options), loader(), verbose=False)
        for options in ({"num_classes": 3}, {"task": Classification(3)})
    )
    assert short == long
    assert {"test/top1", "test/ece"} <= short.keys()
    with pytest.raises(UserError, match=r"^num_classes=3: the short form"):
        DistillationModule(nn.Linear(6, 3), num_classes=3, task=Classification(3))


def test_a_column_nothing_measures_and_a_selection_without_validation_are_told() -> None:
    with pytest.raises(UserError, match=r"^columns=unmeasured: no metric of the test"):
        Grades().check_columns()
    with pytest.raises(
        UserError, match=r"^selects_on=ece: is not measured in validation.* one of top1, top5, balanced_accuracy, nll"
    ):
        Classification(3, selects_on="ece").check_columns()
    Classification(3, selects_on="nll").check_columns()


def test_a_class_may_choose_what_selects() -> None:
    class Inverse(Grades):
        selects_on = Grades.columns[1]

        def __init__(self) -> None:
            pass

    class Further(Inverse):
        columns = (*Classification.columns, *Grades.columns)

    assert Inverse().selects_on.name == "unmeasured"
    assert Further().selects_on.name == "top1", "the first of its own columns"
    assert Grades("unmeasured").selects_on.name == "unmeasured"
    assert Classification(3).selects_on.name == "top1"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "params", "model", "x_validation", "x_best"])
def test_a_name_that_records_have_is_none_of_a_column(name: str) -> None:
    with pytest.raises(UserError, match=f"^column={name}"):
        Column(name, "label")


@pytest.mark.parametrize("given", ["%d", "{}", ".2", ".999f", "999999999.2f", ""])
def test_a_format_is_one_of_numbers(given: str) -> None:
    with pytest.raises(UserError, match="its format"):
        Column("name", "label", given)
    assert column_from({"name": "name", "label": "label", "format": given}) is None


def test_numbers_are_written_as_the_column_says() -> None:
    share, error = Column("share", "share", ".2%"), Column("error", "error", ".3g", higher_is_better=False)
    assert [share.text(0.98765), share.with_unit(0.5), share.difference(-0.01)] == ["98.77", "50.00 %", "-1.00 points"]
    assert [error.text(12.3456), error.with_unit(0.5), error.difference(0.25)] == ["12.3", "0.5", "+0.25"]
    assert (share.worst, error.worst) == (0.0, math.inf)
    assert share.best([0.1, 0.3, 0.2]) == 0.3
    assert error.best([0.3, 0.1, 0.2]) == 0.1
    assert error.is_better(0.1, 0.2)
    assert not share.is_better(0.1, 0.2)
    assert Column("r2", "R²").worst == -math.inf


def test_a_summary_tells_the_columns_and_a_damaged_or_older_one_none() -> None:
    compared = Classification(4, selects_on="nll").compared()
    record = json.loads(json.dumps(compared.as_record()))
    assert compared_by({"data": {"task": record}}) == compared
    assert Classification(4).compared().chance == 0.25
    for broken in ({}, {"columns": 3}, {**record, "selects_on": "other"}, {**record, "columns": [{"name": 3}]}, None):
        assert compared_by({"data": {"task": broken}}) is None
    assert compared_by({"data": {}}) is None
    assert compared_by(None) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("task.selects_on=accuracy", ["task.selects_on=accuracy", "top1, top5, balanced_accuracy, nll"]),
        (
            "task.selects_on=f1",
            ["task.selects_on=f1", "not measured in validation", "top1, top5, balanced_accuracy, nll"],
        ),
        ("task={_target_: torch.nn.Identity}", ["task._target_=torch.nn.Identity", "kd_lightning.tasks.Task"]),
        ("task.num_clases=3", ["task.num_clases"]),
        ("task={_target_: nowhere.Task}", ["task._target_=nowhere.Task", "not found"]),
        ("task=null", ["task=null", "a config"]),
        ("task=clasification", ["clasification"]),
    ],
)
def test_a_task_that_cannot_be_is_one_line(command: Command, given: str, words: list[str]) -> None:
    outcome = command("kd-train", given)
    assert outcome.code == 2, outcome.errors
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
    assert not (outcome.folder / "outputs").exists()


def test_monitors_follow_the_task_and_what_is_typed(command: Command) -> None:
    from kd_lightning.config.parts.objects import make_callbacks
    from tests.cli.test_configs import composed

    def watched(*overrides: str) -> list[tuple[str, str]]:
        made = make_callbacks(composed("callbacks=early_stopping", *overrides), Path("run"))
        found: list[Any] = [made["checkpoint_best"], made["early_stopping"]]
        return [(one.monitor, one.mode) for one in found]

    assert watched() == [("val/top1", "max")] * 2
    assert watched("task.selects_on=nll") == [("val/nll", "min")] * 2
    typed = watched("callbacks.early_stopping.monitor=val/nll", "callbacks.checkpoint_best.monitor=train/loss")
    assert typed == [("train/loss", "min"), ("val/nll", "min")]
    assert watched("callbacks.early_stopping.mode=min")[1] == ("val/top1", "min")


@pytest.fixture
def ordinal(tmp_path: Path) -> Iterator[Path]:
    """The file of the task of one's own, in the folder where commands run."""
    yield Path(shutil.copy(HERE / "own_task" / "ordinal.py", tmp_path))
    sys.modules.pop("ordinal", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


OWN = "task={_target_: ordinal.Ordinal}"


def test_a_figure_of_ones_own_stands_on_the_page_and_in_no_code_of_the_report(
    command: Command, ordinal: Path, tmp_path: Path
) -> None:
    outcome = command("kd-train", *QUICK, OWN, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "mean distance" in outcome.output
    [(title, figure)] = read_figures(tmp_path / "run").items()
    assert title == "How far off"
    assert {trace["name"] for trace in figure["data"]} == {"teacher", "student"}
    assert [sum(trace["y"]) for trace in figure["data"]] == [898, 898]
    os.remove(ordinal)
    sys.modules.pop("ordinal", None)
    assert command("kd-report", "run", "--output", "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "How far off" in page
    assert "mean distance" in page
    assert "Confusion" not in page


def test_a_task_whose_figures_fail_leaves_the_run_whole(command: Command, ordinal: Path, tmp_path: Path) -> None:
    text = ordinal.read_text()
    ordinal.write_text(text.replace("        bars =", "        raise KeyError('bars')\n        bars ="))
    outcome = command("kd-train", *QUICK, OWN, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "its figures are left out (KeyError: 'bars')" in outcome.output + outcome.errors
    assert (tmp_path / "run" / "summary.json").exists()
    assert read_figures(tmp_path / "run") == {}


@pytest.mark.parametrize(
    ("task", "words"),
    [(Classification(3), "the student agrees with it on 50.0\u00a0%"), (Regression(), "mean distance to teacher: 0.5")],
    ids=lambda one: getattr(one, "name", ""),
)
def test_a_page_says_how_much_networks_agree_as_the_task_measures_it(tmp_path: Path, task: Task, words: str) -> None:
    compared = task.compared()
    network = {"model": "net", compared.test.name: 0.25, "params": 10}
    alone = network | {compared.test.name: 0.5}
    summary = distilled(network, alone, network | {"agreement": 0.5}, data={"task": compared.as_record()})
    found = {card.label: card for card in cards(Run(tmp_path, "run", FINISHED, {}, summary), summary)}
    label = compared.selects_on.label
    assert words in found[f"teacher, test {label}"].note
    gain = found["gain over the student alone"].value
    assert gain.startswith("+" if not compared.selects_on.higher_is_better else "-"), "a gain is what is better"


def test_figures_of_other_people_draw_and_do_nothing_else(tmp_path: Path) -> None:
    trace = {
        "y": np.arange(3),
        "name": "<a href='x'>a & b</a>",
        "hovertemplate": "%{y:.2f}<script>",
        "x": ["$x$", "b", "c"],
    }
    elsewhere = {"type": "scattermapbox", "lat": [1]}
    layout = {"title": {"text": "<b>50 %</b>"}, "images": [{"source": "http://x"}], "yaxis": {"tickformat": ".1%"}}
    write_figures(tmp_path, {"one": {"data": [trace, elsewhere], "layout": layout}, "two": {"data": [object()]}})
    found = read_figures(tmp_path)
    assert [*found] == ["one"], "what is no plain value is left out"
    [drawn] = found["one"]["data"]
    assert drawn["y"] == [0, 1, 2]
    assert all(not set("<>&$") & set(text.replace("&#", "")) for text in (drawn["name"], *drawn["x"]))
    assert drawn["hovertemplate"] == "%{y:.2f}&#60;script&#62;"
    assert "images" not in found["one"]["layout"]
    assert "<" not in found["one"]["layout"]["title"]["text"]
    assert found["one"]["layout"]["yaxis"]["tickformat"] == ".1%"
    (tmp_path / "figures.json").write_text('{"one": [1]}')
    assert read_figures(tmp_path) == {}
