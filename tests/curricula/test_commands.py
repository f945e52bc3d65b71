"""A curriculum of the user's own under kd-train: refused before anything is trained, and the student's alone."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command, Outcome

CODE = '''
import torch

from kd_lightning.curricula import Curriculum


class Twice(Curriculum):
    """The first samples, each twice; `wrong` draws what there is not."""

    def __init__(self, share: float = 0.5, wrong: bool = False) -> None:
        self.share, self.wrong = share, wrong

    def draw(self, epoch, count):
        first = torch.randperm(count)[: int(self.share * count)]
        return torch.cat([first, first]) + (10**6 if self.wrong else 0)


class Loaders(__import__("lightning").LightningDataModule):
    num_classes = 2

    def __init__(self, stream: bool = False) -> None:
        super().__init__()
        self.stream = stream

    def train_dataloader(self):
        data = torch.utils.data.TensorDataset(torch.rand(16, 4), torch.arange(16) % 2)
        return torch.utils.data.DataLoader(Stream() if self.stream else data, 4)

    val_dataloader = test_dataloader = lambda self: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.rand(8, 4), torch.arange(8) % 2), 4
    )


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([(torch.rand(4), 1)] * 16)
'''
SMALL = (
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
    "trainer.accelerator=cpu",
    "callbacks.progress_bar=null",
)
TEACHER = ("teacher.model=digits_cnn_4", "scratch=false")
OWN = "curriculum={_target_: drawn.Twice}"
NO_IMAGES = (
    "data={_target_: drawn.Loaders}",
    "teacher=none",
    "student.model={_target_: torch.nn.Linear, in_features: 4, out_features: 2}",
)


@pytest.fixture(autouse=True)
def code(tmp_path: Path) -> None:
    (tmp_path / "drawn.py").write_text(CODE)


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome.output + outcome.errors
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
    assert "epoch" not in [one.partition(" ")[0] for one in outcome.output.splitlines()]  # nothing was trained
    assert not (outcome.folder / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("curriculum={_target_: torch.nn.Linear, in_features: 1, out_features: 1}",),
            ("curriculum._target_", "Linear"),
        ),
        (("curriculum={_target_: drawn.None}",), ("curriculum._target_=drawn.None",)),
        (("curriculum={_target_: drawn.Twice, shar: 1}",), ("curriculum", "shar")),
        (("curriculum=easy",), ("curriculum=easy",)),
        (("curriculum={_target_: drawn.Twice, wrong: true}",), ("curriculum=Twice", "positions int64")),
        (("curriculum={_target_: drawn.Twice, share: 0}",), ("curriculum=Twice", "is empty")),
        (
            (OWN, "data={_target_: drawn.Loaders, stream: true}", *NO_IMAGES[1:]),
            ("curriculum=Twice", "a stream, Stream"),
        ),
        ((OWN, "data.sampler=balanced"), ("curriculum=Twice", "data.sampler=balanced")),
        ((OWN, "+trainer.overfit_batches=2"), ("curriculum=Twice", "overfit_batches")),
    ],
    ids=lambda value: value[-1] if isinstance(value[-1], str) else None,
)
def test_it_is_refused_before_anything_is_trained(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    networks = () if "teacher=none" in arguments else TEACHER
    assert_refused(command("kd-train", *SMALL, *networks, *arguments, "hydra.run.dir=run"), *words)


def test_it_is_the_distilled_students_alone_and_its_answers_are_kept(command: Command, tmp_path: Path) -> None:
    cached = (*SMALL, TEACHER[0], "teacher.cache=logits", "hydra.run.dir=run")
    outcome = command("kd-train", *cached, OWN)
    assert outcome.code == 0, outcome.errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"]["curriculum"] == {"name": "Twice"}
    plain = command("kd-train", *cached[:-2], "hydra.run.dir=plain")
    assert plain.code == 0, plain.errors
    assert "training (" not in plain.output  # the teacher and the student alone are those of the run before
    other = json.loads((tmp_path / "plain" / "summary.json").read_text())
    assert "curriculum" not in other["data"]
    assert all(summary[role]["nll"] == other[role]["nll"] for role in ("teacher", "scratch"))
    refused = command("kd-train", *cached, "curriculum={_target_: drawn.Twice, share: 0.25}")
    assert refused.code == 2
    assert "curriculum.share" in refused.error_lines[0]


def test_loaders_of_the_users_own_are_drawn_from(command: Command, tmp_path: Path) -> None:
    outcome = command(
        "kd-train", *SMALL[:1], *SMALL[2:], *NO_IMAGES, OWN, "hydra.run.dir=run", "trainer.log_every_n_steps=1"
    )
    assert outcome.code == 0, outcome.errors
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["data"]["curriculum"]["name"] == "Twice"
