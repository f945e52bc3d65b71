"""teacher.cache=prefill asks for what the training will ask for: all of it, nothing else, and once."""

from pathlib import Path
from threading import Event, Thread
from typing import Any

import lightning
import pytest
import torch
from filelock import FileLock

from kd_lightning import DistillationModule
from kd_lightning.callbacks import Prefill, prefill
from kd_lightning.data import DigitsDataModule
from kd_lightning.errors import UserError
from kd_lightning.models import create_model
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.store import Answers, Whole
from kd_lightning.store.folders import entries, remove
from tests.module.test_module import KD, trainer

BATCHES = 7  # of 64 digits in an epoch


class Asked(lightning.Callback):
    """What is kept before the first batch, and what the batches ask for; by (index, view)."""

    def __init__(self) -> None:
        self.before: set[tuple[int, int]] = set()
        self.asked: set[tuple[int, int]] = set()
        self.batches = 0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.before = self.before or kept(pl_module.teacher.answers)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        assert not len(batch[pl_module.teacher.missing_key])
        self.asked |= pairs(batch["index"], batch["view"])
        self.batches += 1


def pairs(index: torch.Tensor, view: torch.Tensor) -> set[tuple[int, int]]:
    return set(zip(index.tolist(), view.tolist(), strict=True))


def kept(answers: Answers) -> set[tuple[int, int]]:
    return pairs(*answers.filled())


def folder_of(cache: Path) -> Path:
    folder = cache / "answers" / "0123456789abcdef"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def answers_in(cache: Path) -> Answers:
    data = DigitsDataModule()
    data.setup()
    return Answers(folder_of(cache) / "answers.bin", len(data.train_set.images.targets), data.num_views, Whole(10))


def train(cache: Path, checkpoint: Path | None = None, sampler: Any = None, **options: Any) -> Asked:
    """A training of a digits network on prefilled answers below `cache`."""
    torch.manual_seed(0)
    seen = Asked()
    teacher = CachedSource(FrozenNetwork(create_model("digits_cnn_4", 10, 1)), answers_in(cache))
    module = DistillationModule(create_model("digits_cnn_4", 10, 1), teacher, KD)
    data = DigitsDataModule(drop_last=True, val_fraction=0.5, sampler=sampler)
    fitting = trainer(cache, **{"callbacks": [Prefill(), seen], "limit_val_batches": 0, **options})
    fitting.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if checkpoint is None and options.get("enable_checkpointing"):
        fitting.save_checkpoint(cache / "last.ckpt")
    return seen


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"max_epochs": 2}, 2 * BATCHES),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6),
        ({"max_epochs": 3, "max_steps": 4}, 4),
        ({"max_epochs": -1, "max_steps": BATCHES + 2}, BATCHES + 2),
        ({"max_epochs": -1, "max_steps": 6, "accumulate_grad_batches": 2}, BATCHES + 4),
        ({"max_epochs": 2, "overfit_batches": 2}, 4),
        ({"max_epochs": 2, "sampler": "balanced"}, 2 * BATCHES),
        ({"max_epochs": 2, "overfit_batches": 2, "sampler": "balanced"}, 4),
    ],
)
def test_exactly_what_the_training_asks_for(tmp_path: Path, options: dict[str, Any], batches: int) -> None:
    seen = train(tmp_path, **options)
    assert seen.batches == batches
    assert seen.before == seen.asked


def test_a_training_taken_up_again_asks_for_what_is_left(tmp_path: Path) -> None:
    train(tmp_path, max_epochs=2, enable_checkpointing=True)
    (folder_of(tmp_path) / "answers.bin").unlink()
    seen = train(tmp_path, tmp_path / "last.ckpt", max_epochs=3)
    assert seen.batches == BATCHES
    assert seen.before == seen.asked


@pytest.mark.slow
def test_two_ranks_ask_each_for_its_own(tmp_path: Path) -> None:
    train(tmp_path, devices=2, strategy="ddp_spawn", limit_train_batches=2, max_epochs=1)
    assert len(kept(answers_in(tmp_path))) == 2 * 2 * 64


def test_a_training_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.max_epochs=-1: teacher\.cache=prefill needs the training's length"):
        train(tmp_path, max_epochs=-1)


def test_batches_of_their_own_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.utils.data.DataLoader(torch.arange(4))  # type: ignore[arg-type, var-annotated]
    monkeypatch.setattr(DigitsDataModule, "train_dataloader", lambda data: plain)
    with pytest.raises(UserError, match=r"teacher\.cache=prefill: the data digits have a training loader of their own"):
        train(tmp_path)


def test_of_two_runs_one_asks_and_the_other_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path)
    file = folder_of(tmp_path) / "answers.bin"
    filled = file.read_bytes()
    file.unlink()
    said: list[str] = []
    locked, waiting = Event(), Event()

    def say(title: str, text: str) -> None:
        said.append(text)
        waiting.set()

    def other_run() -> None:
        with FileLock(folder_of(tmp_path).with_suffix(".lock")):
            locked.set()
            waiting.wait(60)
            with file.open("r+b") as opened:
                opened.write(filled)

    monkeypatch.setattr(prefill, "say", say)
    thread = Thread(target=other_run)
    thread.start()
    locked.wait(60)
    train(tmp_path)
    thread.join()
    assert said == ["waiting for another run, which asks it"]


def test_nothing_is_removed_while_it_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def try_to_remove() -> None:
        (entry,) = entries(tmp_path)
        with pytest.raises(UserError, match="a run is making it"):
            remove(entry)
        refused.append(entry.name)

    def say(title: str, text: str) -> None:
        thread = Thread(target=try_to_remove)
        thread.start()
        thread.join()

    monkeypatch.setattr(prefill, "say", say)
    train(tmp_path)
    assert len(refused) == 2, "in each epoch"
    remove(entries(tmp_path)[0])
