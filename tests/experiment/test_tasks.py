"""kd-train on data of the user's own whose targets are numbers, several labels, or a class for each pixel or token."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.additions.test_additions import measured_twice
from tests.conftest import Command

CODE = """
import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader


class Data(lightning.LightningDataModule):
    def __init__(self, kind="numbers", batch_size=16):
        super().__init__()
        self.kind, self.batch_size = kind, batch_size
        if kind == "tokens":
            self.num_classes = 3
        elif kind != "numbers":
            self.class_names = ["one", "two", "three"]

    def samples(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(48):
            x = torch.randn(4, 6, 6, generator=generator)
            if self.kind == "tokens":
                ids = torch.randint(9, (5,), generator=generator)
                mask = torch.arange(5) < 2 + ids[0] % 4
                yield {"input_ids": ids, "attention_mask": mask.long(), "labels": torch.where(mask, ids % 3, -100)}
            elif self.kind == "pixels":
                yield x, x[:3].argmax(0)
            elif self.kind == "labels":
                yield x.mean((1, 2)), (x.mean((1, 2))[:3] > 0).long()
            else:
                yield x.mean((1, 2)), x.mean((1, 2))[:2] * 3 + 1

    def loader(self, seed):
        return DataLoader(list(self.samples(seed)), self.batch_size, shuffle=seed == 0)

    def train_dataloader(self):
        return self.loader(0)

    def val_dataloader(self):
        return self.loader(1)

    def test_dataloader(self):
        return self.loader(2)


class Table(nn.Sequential):
    def __init__(self, width, outputs):
        super().__init__(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, outputs))


class Pixels(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv2d(4, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 1))


class Tokens(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, width), nn.Linear(width, 3)

    def forward(self, input_ids, attention_mask):
        return {"logits": self.head(self.embed(input_ids))}
"""
KINDS = {  # the task, its model, what selects, what its page shows
    "numbers": ("regression", "Table, outputs: 2", "mse", "Predicted against true of output 1"),
    "labels": ("multi_label", "Table, outputs: 3", "map", "Average precision by class"),
    "pixels": ("segmentation", "Pixels", "miou", "IoU by class"),
    "tokens": ("token_classification", "Tokens", "top1", "token accuracy"),
}
QUICK = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "callbacks.progress_bar=null", "hydra.run.dir=run")


def arguments(kind: str) -> list[str]:
    task, model, *_ = KINDS[kind]
    name, _, rest = model.partition(",")
    models = [
        f"{role}.model={{_target_: others.{name}, width: {width}{',' if rest else ''}{rest}}}"
        for role, width in (("student", 4), ("teacher", 8))
    ]
    return [f"task={task}", f"data={{_target_: others.Data, kind: {kind}}}", *models, *QUICK]


@pytest.fixture
def others(tmp_path: Path) -> None:
    (tmp_path / "others.py").write_text(CODE)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_trains_is_tested_again_and_shown(kind: str, command: Command) -> None:
    *_, selects, shown = KINDS[kind]
    trained = command("kd-train", *arguments(kind))
    assert trained.code == 0, trained.errors
    folder = trained.folder / "run"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["data"]["task"]["selects_on"] == selects
    for record in ("teacher", "scratch", "student"):
        assert np.isfinite([summary[record][selects], summary[record][f"{selects}_validation"]]).all()
    assert np.isfinite(summary["student"]["agreement"])
    assert shown in (folder / "report.html").read_text()
    again = command("kd-eval", "run=run")
    assert again.code == 0, again.errors
    rows = measured_twice(again.output)
    assert rows, again.output
    assert all(now == stored for now, stored in rows)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("numbers", ["loss=[mse,kd]"], "loss.kd=SoftTarget: takes outputs of one class of several, and Regression has"),
        ("numbers", ["task=multi_label"], "each class is 0 or 1"),
        ("labels", ["loss=[ce,bernoulli_kd]"], "loss.ce=CrossEntropy: takes outputs of one class of several"),
        ("numbers", ["task.num_outputs=3"], "gives 2 outputs for a sample, the targets have 3"),
        ("numbers", ["task.selects_on=top1"], "task.selects_on=top1: Regression has no such column; choose one of mse"),
        (
            "numbers",
            ["teacher=none", "teacher.model=null"],
            "loss=regression_kd: this term needs a teacher; choose one, or loss=mse with teacher=none",
        ),
        ("pixels", ["task=classification"], "6x6"),
    ],
)
def test_what_does_not_fit_is_one_line(kind: str, options: list[str], message: str, command: Command) -> None:
    refused = command("kd-train", *arguments(kind), *options)
    assert refused.code == 2
    assert message in " ".join(refused.errors.split()), refused.errors
    assert not (refused.folder / "run" / "summary.json").exists()


@pytest.mark.parametrize("task", ["classification", "multi_label", "segmentation", "token_classification"])
@pytest.mark.parametrize("given", ["x", "2.5", "0", "[3]"])
def test_a_number_of_classes_that_is_none_is_one_line(command: Command, task: str, given: str) -> None:
    refused = command("kd-train", f"task={task}", f"task.num_classes={given}")
    assert refused.code == 2
    assert refused.errors.startswith("error: task.num_classes=")
    assert len(refused.errors.splitlines()) == 1
