"""Balanced sampling and long-tailed splits: what is drawn, by whom, in which view."""

import json
from collections import Counter
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn

from kd_lightning import DistillationModule
from kd_lightning.callbacks import MidEpoch
from kd_lightning.data import BalancedBatches, DigitsDataModule, ImageSet, MemoryImages
from kd_lightning.data.labels.balanced import balanced_draw, long_tailed
from kd_lightning.errors import UserError
from tests.conftest import Command

SIZES = (500, 50, 5, 0, 1)  # of five classes; nobody has the fourth
TARGETS = torch.cat([torch.full((size,), label) for label, size in enumerate(SIZES)])[torch.randperm(sum(SIZES))]


def images(targets: torch.Tensor, num_views: int = 9) -> ImageSet:
    pixels = torch.zeros(len(targets), 1, 2, 2, dtype=torch.uint8)
    return ImageSet(MemoryImages(pixels, targets), torch.arange(len(targets)), num_views=num_views)


def test_each_class_is_equally_likely_and_so_is_each_sample_of_a_class() -> None:
    epochs = 200
    drawn = torch.cat([balanced_draw(TARGETS, seed=3, epoch=epoch) for epoch in range(epochs)])
    counts, of_classes = drawn.bincount(minlength=len(TARGETS)).numpy(), TARGETS[drawn].bincount(minlength=5).numpy()
    expected = len(drawn) / 4
    assert of_classes[3] == 0
    assert np.abs(of_classes[[0, 1, 2, 4]] - expected).max() < 5 * np.sqrt(expected * 3 / 4)
    for label in (0, 1, 2):
        own, share = counts[TARGETS.numpy() == label], expected / SIZES[label]
        assert ((own - share) ** 2 / share).sum() < len(own) + 5 * np.sqrt(2 * len(own))  # chi-square, within 5 sigma


def test_ranks_take_turns_in_one_draw_of_seed_and_epoch() -> None:
    for epoch in (0, 7):
        whole = balanced_draw(TARGETS, seed=1, epoch=epoch)
        assert torch.equal(whole, balanced_draw(TARGETS, seed=1, epoch=epoch))
        each = []
        for rank in range(2):
            batches = BalancedBatches(images(TARGETS), 32, num_replicas=2, rank=rank, seed=1)
            batches.set_epoch(epoch)
            each.append(list(batches))
            assert len(each[-1]) == len(batches)
            assert [p for draw in each[-1] for p in draw.positions] == whole[rank::2].tolist()
        assert len(each[0]) == len(each[1])
        again = Counter()
        for position, repeat in zip(whole.tolist(), interleaved(each), strict=True):
            assert repeat == again[position]  # counted over both ranks
            again[position] += 1
    assert not torch.equal(balanced_draw(TARGETS, 1, 0), balanced_draw(TARGETS, 1, 1))
    assert not torch.equal(balanced_draw(TARGETS, 1, 0), balanced_draw(TARGETS, 2, 0))


def interleaved(ranks: list[list]) -> list[int]:
    repeats = [[repeat for draw in draws for repeat in draw.repeats] for draws in ranks]
    found = [0] * sum(map(len, repeats))
    found[::2], found[1::2] = repeats
    return found


def test_a_sample_that_comes_again_shows_another_view() -> None:
    targets = torch.tensor([0] * 20 + [1, 1])
    data = images(targets, num_views=9)
    seen: dict[int, list[int]] = {}
    for draw in BalancedBatches(data, 4):
        batch = data[draw]
        for index, view in zip(batch["index"].tolist(), batch["view"].tolist(), strict=True):
            seen.setdefault(index, []).append(view)
    assert max(map(len, seen.values())) > 2
    assert all(len({*views[:9]}) == len(views[:9]) for views in seen.values())


class Seen(Callback):
    """The images and views of each batch, by its step."""

    def __init__(self) -> None:
        self.batches: dict[int, list[tuple[int, int]]] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches[trainer.global_step] = list(zip(batch["index"].tolist(), batch["view"].tolist(), strict=True))


@pytest.mark.parametrize("step", [4, 6])
def test_a_training_killed_within_an_epoch_goes_on_with_its_draw(tmp_path: Path, step: int) -> None:
    def train(checkpoint: Path | None) -> tuple[torch.Tensor, Seen]:
        torch.manual_seed(0)
        module = DistillationModule(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), num_classes=10)
        data, seen = DigitsDataModule(batch_size=100, sampler="balanced", imbalance=4), Seen()
        kept = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = lightning.Trainer(
            max_epochs=2, limit_val_batches=0, callbacks=[kept, seen, MidEpoch()], **quiet
        )  # fmt: skip
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        return module.student[1].weight.detach(), seen

    whole, first = train(None)
    [saved] = tmp_path.glob(f"*step={step}.ckpt")
    again, second = train(saved)
    assert torch.equal(whole, again)
    assert second.batches == {number: batch for number, batch in first.batches.items() if number >= step}


def test_mixed_images_have_partners_of_each_class_equally_often() -> None:
    shares = []
    for sampler in (None, "balanced"):
        data = DigitsDataModule(mixup=1.0, sampler=sampler, imbalance=20, batch_size=64)
        data.setup()
        partners = []
        for epoch in range(30):
            loader = data.train_dataloader()
            loader.sampler.set_epoch(epoch)
            partners += [batch["partner"]["target"] for batch in loader]
        counts = torch.cat(partners).bincount(minlength=10)
        shares.append(counts / counts.sum())
    assert shares[0][0] > 4 * shares[0][-1]
    assert (shares[1] - 0.1).abs().max() < 0.03
    kept = [DigitsDataModule(mixup=1.0, sampler=sampler).fingerprint()["mixing"] for sampler in (None, "balanced")]
    assert kept[0] != kept[1]  # which answers are kept by


def test_overfitting_takes_the_same_balanced_batches() -> None:
    data = DigitsDataModule(batch_size=64, sampler="balanced", imbalance=50)
    data.trainer = lightning.Trainer(overfit_batches=2, logger=False, accelerator="cpu", enable_checkpointing=False)
    data.setup()
    first, second = ([draw.positions for draw in data.train_dataloader().sampler] for _ in range(2))
    assert first == second
    counts = data.train_set.targets[first[0] + first[1]].bincount(minlength=10)
    assert counts.min() > 2  # of the last class there are two images


@pytest.mark.parametrize(("classes", "size", "total"), [(10, 5000, 12_406), (100, 500, 10_847)])
def test_the_profile_of_cui_et_al(classes: int, size: int, total: int) -> None:
    """CIFAR-10-LT and CIFAR-100-LT with an imbalance of 100 have as many images as the papers that use them say."""
    targets = torch.arange(classes).repeat(size)
    rows = long_tailed(targets, 100, classes, seed=0)
    counts = targets[rows].bincount(minlength=classes).tolist()
    assert counts == [int(size * 0.01 ** (label / (classes - 1))) for label in range(classes)]
    assert sum(counts) == total
    assert (counts[0], counts[-1]) == (size, size // 100)
    assert torch.equal(rows, long_tailed(targets, 100, classes, seed=0))
    assert not torch.equal(rows, long_tailed(targets, 100, classes, seed=1))
    assert rows.diff().min() > 0


def test_the_profile_is_kept_where_the_data_have_less_of_a_class() -> None:
    targets = torch.cat([torch.zeros(100), torch.ones(40), torch.full((100,), 2)]).long()
    assert targets[long_tailed(targets, 4, 3, seed=0)].bincount().tolist() == [80, 40, 20]
    with pytest.raises(UserError, match=r"^data\.imbalance=500: leaves class 2 of 3 without an image"):
        long_tailed(targets, 500, 3, seed=0)


def test_only_what_is_trained_on_is_thinned() -> None:
    plain, thin = DigitsDataModule(), DigitsDataModule(imbalance=10)
    both = [data for data in (plain, thin) if data.setup() is None]
    counts = [data.train_set.targets.bincount() for data in both]
    assert counts[1][0] == 10 * counts[1][-1]
    assert {*thin.train_set.rows.tolist()} < {*plain.train_set.rows.tolist()}
    assert torch.equal(plain.val_set.rows, thin.val_set.rows)
    assert torch.equal(plain.test_set.rows, thin.test_set.rows)
    assert plain.fingerprint() != thin.fingerprint() != DigitsDataModule(imbalance=10, seed=1).fingerprint()
    assert "sampler" not in plain.order()
    assert DigitsDataModule(sampler="balanced").order()["sampler"] == "balanced"


SMALL = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "scratch=false")


def test_a_run_of_it_keeps_the_teachers_answers(command: Command, tmp_path: Path) -> None:
    balanced = ("data.sampler=balanced", "data.imbalance=8", "loss.ce.loss.class_weights=balanced")
    selecting = ("task.selects_on=balanced_accuracy", "teacher.cache=prefill")
    outcome = command("kd-train", *SMALL, *balanced, *selecting, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "balanced accuracy" in outcome.output
    objective = json.loads((tmp_path / "run" / "summary.json").read_text())["objective"]
    assert objective["ce"]["class_weights"] == "balanced"
    header = (tmp_path / "run" / "metrics.csv").read_text().partition("\n")[0]
    assert "val/balanced_accuracy" in header
    off = command("kd-train", *SMALL, *balanced, selecting[0], "hydra.run.dir=off")
    assert off.code == 0, off.errors


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("data.sampler=often",), "error: data.sampler=often: must be one of balanced or null"),
        (("data.imbalance=0.5",), "error: data.imbalance=0.5: how many times"),
        (("data.imbalance=1000",), "error: data.imbalance=1000: leaves class"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(command: Command, arguments: tuple[str, ...], line: str) -> None:
    outcome = command("kd-train", *SMALL, *arguments, "hydra.run.dir=run")
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith(line)
    assert not (outcome.folder / "run" / "checkpoints").exists()
