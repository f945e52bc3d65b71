"""A learning path under a plain Trainer, on classes along a line of which the right path is known; taken up again."""

import math
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks import SeededBatches, SeededEpochs
from kd_lightning.curricula.path import ByClass, LearningPath, Mastery, TeacherGraph
from kd_lightning.errors import UserError
from kd_lightning.learners.measures import MeasuresOfAll
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.tasks import Classification

CLASSES, SPREAD = 4, 0.2
TERMS = {
    "ce": (CrossEntropy, ["student.logits", "target"]),
    "kd": (SoftTarget, ["student.logits", "teacher.logits"]),
}


class OnALine(Dataset[Any]):
    """Class k lies around k."""

    classes = ("zero", "one", "two", "three")

    def __init__(self, count: int, seed: int) -> None:
        self.targets = torch.arange(count) % CLASSES
        noise = torch.randn(count, generator=torch.Generator().manual_seed(seed))
        self.inputs = (self.targets + SPREAD * noise)[:, None]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        return self.inputs[position], self.targets[position]


class Bayes(nn.Module):
    """Knows the densities; of neighbours it is less sure than of others."""

    def forward(self, x: Tensor) -> Tensor:
        return -((x - torch.arange(CLASSES)) ** 2) / (2 * SPREAD**2)


def path(**options: Any) -> LearningPath:
    chosen = {"start": "zero", "review": 0.5, "finish": 0.25, **options}
    return LearningPath(ByClass(), TeacherGraph(temperature=4.0, neighbours=0), Mastery(0.9), **chosen)


def module(curriculum: LearningPath, teacher: nn.Module | None = None) -> DistillationModule:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    terms = {name: Term(kind(), signals, 0.5) for name, (kind, signals) in TERMS.items()}
    return DistillationModule(
        student,
        teacher or Bayes(),
        terms,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.03),
        num_classes=CLASSES,
        curriculum=curriculum,
    )


def fit(student: DistillationModule, *callbacks: Callback, ckpt: Path | None = None, **options: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    saves = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    trainer = lightning.Trainer(
        **{"max_epochs": 30, "enable_checkpointing": saves, **quiet, **options}, callbacks=[*callbacks]
    )
    train, val = (DataLoader(OnALine(count, seed), 20, shuffle=count > 100) for seed, count in enumerate((200, 100)))
    trainer.fit(
        student, train, None if options.get("limit_val_batches") == 0 else val, ckpt_path=ckpt, weights_only=True
    )
    return trainer


def test_it_walks_along_the_line_and_ends_once_all_is_mastered() -> None:
    curriculum = path(until="mastered")
    student = module(curriculum)
    trainer = fit(student)
    assert student.followed is not None
    accounts = student.followed.accounts
    assert {frozenset((edge["source"], edge["target"])) for edge in accounts.graph["edges"]} == {
        frozenset(pair) for pair in [("zero", "one"), ("one", "two"), ("two", "three")]
    }
    taught = [one.teaches[0] for one in accounts.epochs.values() if len(one.teaches) == 1]
    assert [*dict.fromkeys(taught)] == ["zero", "one", "two", "three"]
    last = accounts.epochs[max(accounts.epochs)]
    assert last.decisions[-1] == "the training ends: curriculum.until=mastered holds"
    assert len(accounts.epochs) < 30
    assert trainer.current_epoch == len(accounts.epochs)
    in_all = sum(len(one.teaches) == CLASSES for one in accounts.epochs.values())
    assert in_all / len(accounts.epochs) >= 0.25
    right = {name: float((student(x).argmax(1) == k).float().mean()) for k, name, x in validated()}
    assert all(right[name] == pytest.approx(last.concepts[name], abs=1e-6) for name in right)
    assert all(right[name] >= 0.9 * known for name, known in curriculum.known.accuracy.items())


def validated() -> list[tuple[int, str, Tensor]]:
    data = OnALine(100, 1)
    return [(k, name, data.inputs[data.targets == k]) for k, name in enumerate(data.classes)]


def test_what_the_teacher_knows_is_its_accuracy_on_validation_data() -> None:
    curriculum = path()
    fit(module(curriculum), max_epochs=1)
    for k, name, inputs in validated():
        assert curriculum.known.accuracy[name] == float((Bayes()(inputs).argmax(1) == k).double().mean())


def test_a_limit_that_comes_first_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    curriculum = path(until={"val/top1": 1.01})
    student = module(curriculum)
    fit(student, max_epochs=3)
    assert student.followed is not None
    told = student.followed.accounts.epochs[2].decisions[-1]
    assert told == "the training ends at its limit, before curriculum.until={val/top1: 1.01} holds"
    assert told in capsys.readouterr().out


def test_a_training_that_early_stopping_ends_says_that_it_was_stopped() -> None:
    student = module(path(until={"val/top1": 1.01}))
    worse = EarlyStopping("val/top1", patience=1, mode="min")
    fit(student, worse, max_epochs=30)
    assert student.followed is not None
    epochs = student.followed.accounts.epochs
    assert len(epochs) < 30
    told = epochs[max(epochs)].decisions[-1]
    assert told == "the training is stopped, before curriculum.until={val/top1: 1.01} holds"


@pytest.mark.parametrize("step", [3, 13, 46])
def test_killed_within_an_epoch_it_goes_on_as_if_it_had_not_been(tmp_path: Path, step: int) -> None:
    def train(ckpt: Path | None) -> tuple[DistillationModule, Any]:
        curriculum = path(patience=1)
        student = module(curriculum)
        kept = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        fit(student, SeededBatches(0), SeededEpochs(0), kept, ckpt=ckpt, max_epochs=5)
        assert student.followed is not None
        return student, {**curriculum.state_dict(), "told": student.followed.accounts.record()}

    whole, state = train(None)
    [saved] = tmp_path.glob(f"*step={step}.ckpt")
    again, resumed = train(saved)
    assert resumed == state
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_training_that_has_ended_takes_no_further_step(tmp_path: Path) -> None:
    kept = ModelCheckpoint(tmp_path, save_last=True)
    first = fit(module(path(until={"val/top1": 0.0}, finish=0)), kept)
    assert first.current_epoch == 1
    again = fit(module(path(until={"val/top1": 0.0}, finish=0)), ckpt=tmp_path / "last.ckpt")
    assert again.global_step == first.global_step


def test_without_validation_data_or_a_length_it_is_refused() -> None:
    with pytest.raises(UserError, match="on validation data, and there are none"):
        fit(module(path()), limit_val_batches=0)
    with pytest.raises(UserError, match=r"length is not known, and curriculum.finish=0.25"):
        fit(module(path()), max_epochs=-1, max_time="00:00:01:00")
    with pytest.raises(UserError, match="nobody"):
        fit(module(path(against="tutor")))


class Certain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), CLASSES) + torch.tensor([1.0, 0, 0, 0])


def test_what_a_teacher_is_never_right_on_counts_as_mastered() -> None:
    curriculum = path()
    student = module(curriculum, Certain())
    fit(student, max_epochs=2)
    assert student.followed is not None
    first = student.followed.accounts.epochs[0]
    assert first.decisions[0] == "one, two, three counts as mastered: the teacher is never right on it"
    assert first.teaches == ["zero"]
    assert not math.isnan(first.values["mastered"])


def test_validated_samples_are_shown_with_their_index_where_they_have_a_label() -> None:
    shown: list[tuple[Tensor, ...]] = []
    measures = MeasuresOfAll(Classification(CLASSES), ["student"], [], lambda *found: shown.append(found))
    batch = {"input": torch.zeros(4, 1), "target": torch.tensor([2, -1, 0, -100]), "index": torch.tensor([7, 8, 9, 5])}
    logits = torch.randn(4, CLASSES)
    measures.update(
        "val", {"student": logits}, batch, 0, lambda outputs, _: torch.zeros(len(outputs), dtype=torch.bool)
    )
    [(outputs, target, index)] = shown
    assert torch.equal(outputs, logits[[0, 2]])
    assert target.tolist() == [2, 0]
    assert index.tolist() == [7, 9]
