"""Training on kept answers is the training it would have been."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from kd_lightning import DistillationModule, Term
from kd_lightning.batch import Batch
from kd_lightning.errors import UserError
from kd_lightning.losses import MLKD
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.store import Answers, Whole
from tests.module.test_module import IMAGES, KD, TARGETS, network, trainer

VIEWS = 3


def batches(epochs: int = 4) -> DataLoader[Any]:
    """Images mirrored or shifted by their view, another one each epoch."""
    made = []
    for epoch in range(epochs):
        for n in (0, 8, 16):
            view = torch.tensor([(epoch + i) % VIEWS for i in range(8)])
            images = torch.stack([image.roll(int(v), dims=2) for image, v in zip(IMAGES[n : n + 8], view, strict=True)])
            made.append({"input": images, "target": TARGETS[n : n + 8], "index": torch.arange(n, n + 8), "view": view})
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


class Losses(lightning.Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(outputs["loss"].item())


class Counted(FrozenNetwork):
    """Counts the images that it is asked about."""

    asked = 0

    def answer(self, batch: Any) -> dict[str, Tensor]:
        self.asked += len(batch["input"])
        return super().answer(batch)


def counted() -> Counted:
    torch.manual_seed(5)
    return Counted(network(8))


def losses(folder: Path, teacher: Any, **options: Any) -> list[float]:
    torch.manual_seed(7)
    seen = Losses()
    model = DistillationModule(network(4), teacher, KD)
    torch.manual_seed(7)
    trainer(folder, max_epochs=1, callbacks=[seen], **options).fit(model, batches())
    return seen.seen


def answers(folder: Path, bits: int = 16) -> Answers:
    return Answers(folder / "answers", len(IMAGES), VIEWS, Whole(3, bits))


def test_off_filled_as_it_goes_and_warm_are_one_training(tmp_path: Path) -> None:
    teacher = counted()
    off = losses(tmp_path, teacher)
    first, second = counted(), counted()
    lazily = losses(tmp_path, CachedSource(first, answers(tmp_path)))
    warm = losses(tmp_path, CachedSource(second, answers(tmp_path)))
    assert (teacher.asked, first.asked, second.asked) == (4 * 24, VIEWS * 24, 0)
    assert lazily == warm
    assert lazily == pytest.approx(off, rel=1e-3)
    assert lazily != off


def test_thirty_two_bits_change_nothing_at_all(tmp_path: Path) -> None:
    off = losses(tmp_path, counted())
    assert losses(tmp_path, CachedSource(counted(), answers(tmp_path, 32))) == pytest.approx(off, rel=1e-5)
    assert losses(tmp_path, CachedSource(counted(), answers(tmp_path, 32))) == pytest.approx(off, rel=1e-5)


def test_pooled_answers_go_through_the_teachers_classifier(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = network(8)
    kept = Answers(tmp_path / "answers", len(IMAGES), VIEWS, Whole(16, 32))
    teacher = CachedSource(FrozenNetwork(net, {"pooled": "4"}), kept, net[5])
    assert losses(tmp_path, teacher) == pytest.approx(losses(tmp_path, counted()), rel=1e-5)
    teacher.request({"input": {"pooled"}})
    batch = teacher.before_transfer(next(iter(batches())))
    seen = teacher(batch)
    assert not len(batch[teacher.missing_key])
    torch.testing.assert_close(seen["pooled"], FrozenNetwork(net, {"logits": "4"})(batch)["logits"])


@pytest.mark.parametrize("lacking", ["index", "view"])
def test_inputs_that_are_no_views_are_refused(tmp_path: Path, lacking: str) -> None:
    teacher = CachedSource(counted(), answers(tmp_path))
    batch = {name: value for name, value in next(iter(batches())).items() if name != lacking}
    with pytest.raises(UserError, match=r"^cache=logits: a training batch without .* use cache=off"):
        teacher.before_transfer(batch)


def test_a_tap_that_is_not_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cache=logits: keeps logits, and a term takes stage1"):
        CachedSource(counted(), answers(tmp_path)).request({"input": {"logits", "stage1"}})


def test_a_strong_view_is_answered_by_the_teacher(tmp_path: Path) -> None:
    term = Term(MLKD(), [f"{role}{view}.logits" for view in ("", "@strong") for role in ("student", "teacher")])
    teacher = CachedSource(counted(), answers(tmp_path))
    model = DistillationModule(network(4), teacher, {"mlkd": term})
    batch: Batch = {**next(iter(batches())), "input_strong": IMAGES[16:24]}
    for _ in range(2):
        signals = model.signals(teacher.before_transfer(batch))
        torch.testing.assert_close(signals["teacher@strong.logits"], counted()({"input": IMAGES[16:24]})["logits"])
        torch.testing.assert_close(signals["teacher.logits"], counted()(batch)["logits"], rtol=1e-3, atol=1e-4)


def test_a_validation_batch_is_answered_by_the_teacher(tmp_path: Path) -> None:
    teacher = CachedSource(counted(), answers(tmp_path, 32))
    model = DistillationModule(network(4), teacher, KD, num_classes=3)
    test = DataLoader([{"input": IMAGES[:8], "target": TARGETS[:8]}], batch_size=None)  # type: ignore[arg-type]
    quiet = trainer(tmp_path)
    assert "test/agreement" in quiet.test(model, test, verbose=False)[0]


@pytest.mark.slow
def test_two_processes_fill_one_file(tmp_path: Path) -> None:
    teacher = CachedSource(counted(), answers(tmp_path))
    losses(tmp_path, teacher, devices=2, strategy="ddp_spawn", use_distributed_sampler=False)
    assert len(answers(tmp_path).filled()[0]) == VIEWS * len(IMAGES)


def test_a_checkpoint_holds_no_answers(tmp_path: Path) -> None:
    model = DistillationModule(network(4), CachedSource(counted(), answers(tmp_path)), KD)
    assert not any("teacher" in name for name in model.state_dict())
