"""Two processes that train together draw the same, observe the same, and hold the same state."""

from collections import Counter
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kd_lightning import DistillationModule
from kd_lightning.curricula import (
    Assessment,
    Curriculum,
    Difficulty,
    EasyFirst,
    Linear,
    Paced,
    Samples,
    StudentLoss,
    TeacherLoss,
)
from kd_lightning.curricula.path import AfterEpochs, ByClass, LearningPath, TeacherGraph
from kd_lightning.data import DigitsDataModule
from tests.curricula.test_following import CLASSES, Numbered

CPU = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


class ByLoss(Curriculum):
    """Three quarters of the samples, the hardest first; how often each was seen."""

    observes = ("student.logits", "target")

    def begin(self, samples: Samples) -> None:
        self.state = {name: torch.zeros(len(samples.index)) for name in ("loss", "seen", "drawn")}
        self.target = samples.target
        self.results: list[Assessment] = []

    def draw(self, epoch: int, count: int) -> Tensor:
        drawn = self.state["loss"].argsort(descending=True, stable=True)[: 3 * count // 4 - 1]
        self.state["drawn"] += torch.bincount(drawn, minlength=len(self.state["drawn"]))
        return drawn

    def observe(self, positions: Tensor, signals: dict[str, Tensor]) -> None:
        assert torch.equal(signals["target"], self.target[positions])
        loss = nn.functional.cross_entropy(signals["student.logits"], signals["target"], reduction="none")
        self.state["loss"][positions] = loss
        self.state["seen"].index_add_(0, positions, torch.ones(len(positions)))

    def assess(self, results: Assessment) -> None:
        self.results.append(results)

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class Kept(Callback):
    """Keeps what each process has at the end, and that all made as many steps."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        curriculum: Any = pl_module.followed.curriculum
        kept = {**curriculum.state, "steps": torch.tensor(trainer.global_step)}
        kept |= {
            "assessed": torch.tensor([[*one.metrics.values(), *one.by_class["top1"]] for one in curriculum.results])
        }
        torch.save(kept, Path(trainer.default_root_dir) / str(trainer.global_rank))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "loaders"])
def test_all_ranks_hold_the_same_state(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    classes, width = (10, 64) if kind == "images" else (CLASSES, 5)
    student = nn.Sequential(nn.Flatten(), nn.Linear(width, classes))
    module = DistillationModule(student, num_classes=classes, curriculum=ByLoss())
    trainer = lightning.Trainer(
        **CPU, devices=2, strategy="ddp_spawn", max_epochs=3, callbacks=[Kept()], default_root_dir=tmp_path
    )
    if kind == "images":
        trainer.fit(module, DigitsDataModule(batch_size=50))
    else:
        trainer.fit(module, DataLoader(Numbered(50), 4, shuffle=True), DataLoader(Numbered(12), 4))
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["assessed"].shape[0] == 3
    assert len(first["loss"].unique()) > 10
    missed = first["drawn"] - first["seen"]
    padded = -int(missed.clamp(max=0).sum())
    assert 0 <= int(missed.clamp(min=0).sum()) < 3 * 2 * 50  # of a last batch that is dropped
    assert padded <= 3  # a sample that comes again, so that ranks have equally many


class Shown(Callback):
    """Keeps what each process was shown of each epoch, what was drawn for it, and what the teacher said."""

    def __init__(self) -> None:
        self.shown: dict[int, list[int]] = {}
        self.drawn: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        followed: Any = pl_module.followed
        self.shown.setdefault(trainer.current_epoch, []).extend(batch["index"].tolist())
        self.drawn[trainer.current_epoch] = followed.drawn[1].tolist()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        followed: Any = pl_module.followed
        kept = {"shown": self.shown, "drawn": self.drawn, "values": followed.curriculum.difficulty.values.cpu()}
        torch.save(kept, Path(trainer.default_root_dir) / f"{trainer.world_size}_{trainer.global_rank}")


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [TeacherLoss, StudentLoss])
def test_ranks_are_shown_other_samples_of_one_curriculum(tmp_path: Path, difficulty: type[Difficulty]) -> None:
    epochs = 4
    for world in (1, 2):
        torch.manual_seed(0)
        student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
        paced = Paced(difficulty(), EasyFirst(), Linear(start=0.4, full_at=0.5))
        module = DistillationModule(student, teacher, num_classes=10, curriculum=paced)
        options = {"devices": world, "strategy": "ddp_spawn" if world > 1 else "auto", "max_epochs": epochs}
        trainer = lightning.Trainer(**CPU, **options, callbacks=[Shown()], default_root_dir=tmp_path)
        trainer.fit(module, DigitsDataModule(batch_size=50))
    alone, first, second = (torch.load(tmp_path / name) for name in ("1_0", "2_0", "2_1"))
    assert first["drawn"] == second["drawn"]
    assert torch.equal(first["values"], second["values"])
    if difficulty is TeacherLoss:
        assert first["drawn"] == alone["drawn"]
        torch.testing.assert_close(first["values"], alone["values"])
    data = DigitsDataModule(batch_size=50)
    rows = data.training_set()["index"]
    for epoch in range(epochs):
        drawn = rows[first["drawn"][epoch]].tolist()
        shown = [one["shown"][epoch] for one in (first, second)]
        for rank, seen in enumerate(shown):
            assert seen == drawn[rank::2][: len(seen)]  # they take turns
        left_out = Counter(drawn) - Counter(shown[0] + shown[1])
        assert left_out.total() < 2 * 50  # of a last batch that is dropped
        if epoch >= epochs // 2:  # all samples are in use, each once
            assert not {*shown[0]} & {*shown[1]}
        else:
            assert len({*drawn}) < len(rows)


class KeptPath(Callback):
    """Keeps what each process knows of a learning path at the end."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        followed: Any = pl_module.followed
        kept = {"state": followed.curriculum.state_dict(), "told": followed.accounts.record()}
        known = dict(followed.curriculum.known.accuracy)
        torch.save({**kept, "known": known}, Path(trainer.default_root_dir) / str(trainer.global_rank))


@pytest.mark.slow
def test_all_ranks_walk_the_same_path_which_is_that_of_one_process(tmp_path: Path) -> None:
    kept = []
    for ranks in (1, 2):
        torch.manual_seed(0)
        student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
        path = LearningPath(ByClass(), TeacherGraph(), AfterEpochs(1), finish=0.3)
        module = DistillationModule(student, teacher, num_classes=10, curriculum=path)
        place = tmp_path / str(ranks)
        place.mkdir()
        trainer = lightning.Trainer(
            **CPU,
            devices=ranks,
            strategy="ddp_spawn" if ranks > 1 else "auto",
            max_epochs=4,
            callbacks=[KeptPath()],
            default_root_dir=place,
        )
        trainer.fit(module, DigitsDataModule(batch_size=50 // ranks))
        kept.append([torch.load(place / str(rank), weights_only=True) for rank in range(ranks)])
    [alone], [first, second] = kept
    assert first == second
    assert first["known"] == alone["known"]
    assert first["told"]["graph"]["nodes"] == alone["told"]["graph"]["nodes"]
    assert [one["teaches"] for one in first["told"]["epochs"]] == [one["teaches"] for one in alone["told"]["epochs"]]
