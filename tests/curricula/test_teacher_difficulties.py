"""What a teacher says of training samples as they are: each value against numpy, and found once for all runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from kd_lightning import DistillationModule
from kd_lightning.callbacks import Prefill
from kd_lightning.curricula import (
    Asked,
    Curriculum,
    EasyFirst,
    FromData,
    Linear,
    Paced,
    TeacherConfidence,
    TeacherEntropy,
    TeacherLoss,
    TeacherMargin,
)
from kd_lightning.data import CropFlip, DigitsDataModule, Identity, ImageFolderDataModule
from kd_lightning.data.augmentation.in_order import Chain, plain_view
from kd_lightning.errors import UserError
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.store import Answers, Whole
from kd_lightning.store.folders import entries
from kd_lightning.training.answers.of_samples import settings_of
from tests.conftest import SHORT, Command
from tests.curricula.test_following import CLASSES, Numbered, fit
from tests.data.test_folder import tree

Array = np.ndarray[Any, Any]


def probabilities(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def margin(p: Array, y: Array) -> Array:
    return np.array([max(p[i, c] for c in range(p.shape[1]) if c != y[i]) - p[i, y[i]] for i in range(len(p))])


EXPECTED: dict[type[Asked], Callable[[Array, Array], Array]] = {
    TeacherLoss: lambda p, y: -np.log(p[np.arange(len(p)), y]),
    TeacherConfidence: lambda p, y: 1 - p.max(axis=1),
    TeacherEntropy: lambda p, y: -(p * np.log(p)).sum(axis=1),
    TeacherMargin: margin,
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_teachers_difficulty_is_what_its_formula_says(kind: type[Asked]) -> None:
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(3)) * 3
    target = torch.tensor([0, 1, 2, 3, 0, 1, 2, -1, -100])
    found = kind().value({"teacher.logits": logits, "target": target})
    p = probabilities(logits.double().numpy())
    classes = np.where(target.numpy() < 0, p.argmax(axis=1), target.numpy())
    torch.testing.assert_close(found, torch.tensor(EXPECTED[kind](p, classes)).float())


def teacher(width: int, classes: int) -> nn.Module:
    """A network that answers otherwise in train mode."""
    torch.manual_seed(5)
    network = nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, classes))
    network(torch.rand(32, width))  # statistics of its own
    return network


def student(curriculum: Curriculum | None, width: int, classes: int, known: Any) -> DistillationModule:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(width, classes))
    return DistillationModule(network, known, num_classes=classes, curriculum=curriculum)


def paced(difficulty: Any) -> Paced:
    return Paced(difficulty, EasyFirst(), Linear(start=0.3))


def losses(network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return nn.functional.cross_entropy(network.eval()(inputs), targets, reduction="none")


def test_images_are_asked_about_as_they_are_and_the_training_is_that_of_given_numbers() -> None:
    data, difficulty, known = DigitsDataModule(batch_size=100), TeacherLoss(), teacher(64, 10)
    asked = student(paced(difficulty), 64, 10, known.train())
    torch.manual_seed(7)
    fit(asked, data, max_epochs=2)
    images = data.train_set.images.images[data.train_set.rows].float() / 255
    torch.testing.assert_close(difficulty.values, losses(known, images, data.train_set.targets))

    class Given(FromData):
        def begin(self, samples: Any) -> None:
            self.values = difficulty.values

    given = student(paced(Given()), 64, 10, known)
    torch.manual_seed(7)
    fit(given, DigitsDataModule(batch_size=100), max_epochs=2)
    for one, other in zip(asked.student.parameters(), given.student.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


class Noisy(Dataset[Any]):
    """Augments by itself."""

    def __init__(self, plain: Dataset[Any]) -> None:
        self.plain = plain

    def __len__(self) -> int:
        return len(self.plain)  # type: ignore[arg-type]

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        input, target = self.plain[position]
        return input + torch.rand(5), target


@pytest.mark.parametrize("workers", [0, 2])
def test_any_map_style_data_set_is_asked_about_in_its_own_order(workers: int) -> None:
    difficulty, known, data = TeacherLoss(), teacher(5, CLASSES), Numbered()
    loader = DataLoader(data, 7, shuffle=True, num_workers=workers)
    fit(student(paced(difficulty), 5, CLASSES, known), loader, max_epochs=1)
    torch.testing.assert_close(difficulty.values, losses(known, data.inputs, data.targets))


def test_a_data_set_that_augments_is_refused_unless_it_is_given_as_it_is() -> None:
    known, data = teacher(5, CLASSES), Numbered()
    loader = DataLoader(Noisy(data), 7, shuffle=True)
    with pytest.raises(UserError, match=r"otherwise every time.*argument data"):
        fit(student(paced(TeacherLoss()), 5, CLASSES, known), loader, max_epochs=1)
    with pytest.raises(UserError, match="has 3 samples, and the training set 24"):
        fit(student(paced(TeacherLoss(data=Numbered(3))), 5, CLASSES, known), loader, max_epochs=1)
    difficulty = TeacherLoss(data=data)
    fit(student(paced(difficulty), 5, CLASSES, known), loader, max_epochs=1)
    torch.testing.assert_close(difficulty.values, losses(known, data.inputs, data.targets))


class Endless(Asked):
    asks = ("teacher.logits",)

    def value(self, signals: Any) -> Tensor:
        return signals["teacher.logits"][:, 0] / 0


class Column(Asked):
    asks = ("teacher.logits",)

    def value(self, signals: Any) -> Tensor:
        return signals["teacher.logits"].amax(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("difficulty", "known", "words"),
    [
        (Endless(), True, "Endless: sample 0 is .*inf"),
        (Column(), True, r"Column: its values have shape \(24, 1\); give one finite number for each sample"),
        (TeacherLoss("student.logits"), True, "changes the student"),
        (TeacherLoss(), False, "teacher.logits"),
        (TeacherLoss(target="label"), True, "asks=label: the batch has no such signal; it gives input, target"),
    ],
)
def test_who_cannot_be_asked_is_named(difficulty: Asked, known: bool, words: str) -> None:
    of = teacher(5, CLASSES) if known else None
    with pytest.raises(UserError, match=words):
        fit(student(paced(difficulty), 5, CLASSES, of), DataLoader(Numbered(), 7, shuffle=True), max_epochs=1)


def test_a_class_is_needed_for_a_loss_and_none_for_an_entropy() -> None:
    soft = TensorDataset(torch.rand(6, 5), torch.full((6, CLASSES), 1 / CLASSES))
    for difficulty, works in ((TeacherMargin(), False), (TeacherEntropy(), True)):
        module = student(paced(difficulty), 5, CLASSES, teacher(5, CLASSES))
        if works:
            fit(module, DataLoader(soft, 3, shuffle=True), max_epochs=1)
        else:
            with pytest.raises(UserError, match="TeacherMargin: target holds probabilities"):
                fit(module, DataLoader(soft, 3, shuffle=True), max_epochs=1)


@pytest.mark.parametrize("augment", [Identity(), CropFlip(2), CropFlip(1, flip=False), Chain((CropFlip(1),), 500)])
def test_a_plain_view_shows_images_as_they_are(augment: Any) -> None:
    images = torch.rand(3, 1, 8, 8)
    view = plain_view(augment)
    assert view is not None
    torch.testing.assert_close(augment(images, torch.full((3,), view)), images, rtol=0, atol=0)


def test_answers_that_are_kept_are_not_asked_for_again(tmp_path: Path) -> None:
    calls: list[int] = []
    known = teacher(64, 10)
    known.register_forward_hook(lambda *_: calls.append(1))
    found, asked = [], []
    for _ in range(2):
        data, difficulty = DigitsDataModule(batch_size=100), TeacherLoss()
        data.setup()
        answers = Answers(tmp_path / "answers.bin", len(data.train_set.images.targets), data.num_views, Whole(10, 16))
        cached = CachedSource(FrozenNetwork(known), answers)
        fit(student(paced(difficulty), 64, 10, cached), data, max_epochs=1)
        found.append(difficulty.values)
        asked.append(len(calls))
    assert asked[0] == asked[1] > 0  # none the second time
    assert torch.equal(*found)
    images = data.train_set.images.images[data.train_set.rows].float() / 255
    torch.testing.assert_close(found[0], losses(known, images, data.train_set.targets), rtol=5e-2, atol=5e-2)  # 16 bits


@pytest.mark.parametrize("augment", ["auto", ["crop_flip"], ["crop_flip", Identity()]])
def test_no_answer_to_a_crop_that_is_decoded_serves_for_an_image_as_it_is(tmp_path: Path, augment: Any) -> None:
    small = {"image_size": 8, "resize_size": 10, "batch_size": 4, "val_fraction": 0.0, "views": 4}
    data = ImageFolderDataModule(root=tree(tmp_path, "train", "val"), augment=augment, **small)
    assert not isinstance(data.augment, Chain) or plain_view(data.augment) is None
    data.setup()
    rows, known = data.train_set.rows, teacher(3 * 64, 2)
    answers = Answers(tmp_path / "answers.bin", len(rows), 4, Whole(2, 32))
    answers.write(rows[:4], torch.zeros_like(rows[:4]), torch.full((4, 2), 7.0))  # of crops, whatever they are

    class AsItBegins(TeacherLoss):
        def begin(self, samples: Any) -> None:
            super().begin(samples)
            self.missing = [answers.read(rows, torch.full_like(rows, view))[1].tolist() for view in range(4)]

    difficulty = AsItBegins()
    fit(student(paced(difficulty), 3 * 64, 2, CachedSource(FrozenNetwork(known), answers)), data, max_epochs=1)
    images = data.train_set.images.read(rows, None).float() / 255
    torch.testing.assert_close(difficulty.values, losses(known, images, data.train_set.targets))
    assert difficulty.missing == [[4, 5, 6, 7], *[[*range(8)]] * 3]


class ByWeights(Asked):
    """With settings of any kind."""

    asks = ("teacher.logits",)

    def __init__(self, weights: Any) -> None:
        super().__init__()
        self.weights = weights

    def value(self, signals: Any) -> Tensor:
        return signals["teacher.logits"] @ torch.as_tensor(self.weights)


SETTINGS: list[Callable[[float], Any]] = [
    lambda number: [1.0, number],
    lambda number: {"first": {"second": number}},
    lambda number: torch.tensor([1.0, number]),
    lambda number: np.array([1.0, number]),
    lambda number: {number},
    lambda number: Path(f"weights_{number}.npy"),
    lambda number: Linear(start=number),
    lambda number: nn.Linear(2, 1, bias=False).apply(lambda layer: nn.init.constant_(layer.weight, number)),
]


@pytest.mark.parametrize("make", SETTINGS)
def test_a_kept_score_is_known_by_all_that_its_question_was_made_with(make: Callable[[float], Any]) -> None:
    one, same, other = (ByWeights(make(number)) for number in (0.25, 0.25, 0.75))
    told = settings_of(one)
    one.values = torch.rand(3)
    assert settings_of(one) == settings_of(same) == told != settings_of(other)
    json.dumps(told)


class AskedInSteps(Callback):
    """How often a network is called in the training's steps, and what these show."""

    def __init__(self, network: nn.Module) -> None:
        self.calls, self.is_on, self.shown = 0, False, 0
        network.register_forward_hook(self.count)

    def count(self, *_: Any) -> None:
        self.calls += self.is_on

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.is_on, self.shown = True, self.shown + len(batch["index"])

    def on_train_batch_end(self, *_: Any) -> None:
        self.is_on = False


class Shrinking(Curriculum):
    """Learns nothing, and has ever fewer samples."""

    def draw(self, epoch: int, count: int) -> Tensor:
        return torch.randperm(count)[: round(count * (1 - self.progress.fraction / 2))]


@pytest.mark.parametrize("limits", [{"max_epochs": 4}, {"max_steps": 11, "limit_train_batches": 3}])
@pytest.mark.parametrize("make", [lambda: paced(TeacherLoss()), Shrinking], ids=["paced", "shrinking"])
def test_what_learns_nothing_is_known_beforehand(
    tmp_path: Path, make: Callable[[], Curriculum], limits: dict[str, Any]
) -> None:
    known, data = teacher(64, 10), DigitsDataModule(batch_size=50)
    data.setup()
    answers = Answers(tmp_path / "answers.bin", len(data.train_set.images.targets), data.num_views, Whole(10, 16))
    module, seen = student(make(), 64, 10, CachedSource(FrozenNetwork(known), answers)), AskedInSteps(known)
    fit(module, data, Prefill(), seen, **{"max_epochs": -1, **limits})
    assert seen.shown > 400
    assert seen.calls == 0


OPTIONS = (*SHORT[1:], "trainer.max_epochs=1", "scratch=false", "curriculum=paced")
BY_TEACHER = "curriculum/difficulty=teacher_"


def test_a_command_asks_once_for_all_runs(command: Command, tmp_path: Path) -> None:
    store = tmp_path / "store"
    same = (f"{BY_TEACHER}loss", "curriculum/order=random")
    for run, (options, asks) in enumerate([(same[:1], True), (same, False), ((f"{BY_TEACHER}margin", "seed=1"), True)]):
        outcome = command("kd-train", *OPTIONS, *options, f"paths.cache_dir={store}", f"hydra.run.dir={run}")
        assert outcome.code == 0, outcome.errors
        assert ("asked about all training samples" in outcome.output) == asks, options
    told = [one.description() for one in entries(store) if one.kind == "scores"]
    assert sorted(told) == [f"Teacher{name} of the training samples of digits" for name in ("Loss", "Margin")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("teacher=none", "loss=[ce]"), ("teacher.logits", "teacher=none", "student_loss")),
        (("teacher=moving_average",), ("asked once", "changes", "teacher")),
    ],
)
def test_a_teacher_that_cannot_be_asked_is_refused(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    outcome = command("kd-train", SHORT[1], "scratch=false", "curriculum=paced", f"{BY_TEACHER}loss", *arguments)
    assert outcome.code == 2, outcome.output
    [line] = outcome.error_lines
    assert all(word in line for word in words), line
