"""Mixup and CutMix: against a computation of their own, and as functions of an image's index and view."""

import math
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor

from kd_lightning import DistillationModule, Term
from kd_lightning.batch import Batch
from kd_lightning.callbacks import MidEpoch
from kd_lightning.data import DigitsDataModule, MemoryImages, Mixing
from kd_lightning.data.augmentation.mixing import mixed_labels
from kd_lightning.errors import UserError
from kd_lightning.losses import AttentionTransfer, CrossEntropy, SoftTarget
from tests.conftest import Command

INDEX, VIEW = torch.arange(4000), torch.arange(4000).flip(0)


def digits(**arguments: Any) -> DigitsDataModule:
    data = DigitsDataModule(**arguments)
    data.setup("fit")
    return data


def first_batch(data: DigitsDataModule, epoch: int = 0) -> Batch:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    batch: Batch = next(iter(loader))
    return batch


def by_hand(images: Tensor, partners: Tensor, share: Tensor, box: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Pixel by pixel, and what is left of each image."""
    made, left = np.empty(images.shape), np.empty(len(images))
    for b, (one, other) in enumerate(zip(images.double().numpy(), partners.double().numpy(), strict=True)):
        top, bottom, left_edge, right_edge = box[b].tolist()
        if bottom > top and right_edge > left_edge:
            made[b] = one
            covered = 0
            for row in range(top, bottom):
                for column in range(left_edge, right_edge):
                    made[b, :, row, column] = other[:, row, column]
                    covered += 1
            left[b] = 1 - covered / (images.shape[2] * images.shape[3])
        else:
            left[b] = share[b]
            made[b] = left[b] * one + (1 - left[b]) * other
    return made, left


@pytest.mark.parametrize("mixing", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 2.0}])
def test_a_batch_is_mixed_as_by_hand(mixing: dict[str, float]) -> None:
    data = digits(augment=None, **mixing)
    raw = first_batch(data)
    pixels = data.train_set.images.images  # type: ignore[attr-defined]
    assert torch.equal(raw["input"], pixels[raw["index"]])
    partner = raw["partner"]
    assert bool(torch.isin(partner["input"].flatten(1), pixels.flatten(1)).all())
    expected, left = by_hand(raw["input"] / 255, partner["input"] / 255, partner["share"], partner["box"])
    np.testing.assert_allclose(partner["share"].numpy(), left, rtol=1e-6)
    batch = data.on_after_batch_transfer(raw)
    np.testing.assert_allclose(batch["input"].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert "partner" not in batch
    probabilities = np.zeros((len(left), 10))
    for row, (own, other, share) in enumerate(zip(raw["target"], partner["target"], left, strict=True)):
        probabilities[row, own] += share
        probabilities[row, other] += 1 - share
    np.testing.assert_allclose(batch["target"].numpy(), probabilities, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_both_labels(smoothing: float) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 5, generator=draw, requires_grad=True)
    own, other = torch.randint(5, (2, 16), generator=draw)
    share = torch.rand(16, generator=draw)
    value = CrossEntropy(label_smoothing=smoothing)(logits, mixed_labels(own, other, share, 5))
    apart = [CrossEntropy(label_smoothing=smoothing)(logits, labels, reduction="none") for labels in (own, other)]
    expected = (share * apart[0] + (1 - share) * apart[1]).mean()
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (value, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("a", [0.2, 1.0, 4.0])
def test_shares_are_of_beta_and_partners_and_boxes_uniform(a: float) -> None:
    drawn = Mixing(mixup=a).draw(INDEX, VIEW, candidates=50, height=8, width=8)
    assert stats.kstest(drawn.share.double().numpy(), stats.beta(a, a).cdf).pvalue > 1e-3
    counts = drawn.partner.bincount(minlength=50).double()
    assert float(((counts - 80) ** 2 / 80).sum()) < 49 + 5 * math.sqrt(2 * 49)
    assert not drawn.box.any()
    cut = Mixing(cutmix=a).draw(INDEX, VIEW, candidates=50, height=1000, width=1000)
    top, bottom, left, right = cut.box.unbind(1)
    whole = (top > 0) & (bottom < 1000) & (left > 0) & (right < 1000)  # none of whose edges was cut off
    torch.testing.assert_close((bottom - top)[whole], (right - left)[whole])
    area = (bottom - top) * (right - left) / 1e6
    torch.testing.assert_close(cut.share, 1 - area)
    # Small boxes are cut off seldom; the share that was drawn is known of whole ones alone.
    centre = ((top + bottom) / 2)[whole & (area < 0.01)]
    assert len(centre) < 20 or abs(float(centre.mean()) - 500) < 5 * 290 / math.sqrt(len(centre))


def test_of_both_each_image_gets_one_or_the_other() -> None:
    drawn = Mixing(mixup=1.0, cutmix=1.0).draw(INDEX, VIEW, candidates=50, height=256, width=256)
    cuts = float((drawn.box[:, 1] > drawn.box[:, 0]).double().mean())
    assert abs(cuts - 0.5) < 0.05


def test_a_view_is_the_same_image_whatever_the_batch() -> None:
    """Of other sizes, ranks and orders: what is drawn follows from index and view alone."""
    seen: list[dict[int, tuple[Tensor, Tensor]]] = []
    for size, ranks in ((64, 1), (32, 1), (16, 4)):
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for rank in range(ranks):
            data = digits(batch_size=size, mixup=0.8, cutmix=1.0, augment=["crop_flip", "random_erasing"])
            loader = data.train_dataloader()
            sampler: Any = loader.sampler
            sampler.num_replicas, sampler.rank = ranks, rank
            sampler._divide(sampler.size)
            sampler.set_epoch(3)
            for batch in map(data.on_after_batch_transfer, loader):
                rows = zip(batch["index"].tolist(), batch["input"], batch["target"], strict=True)
                found |= {index: (image, target) for index, image, target in rows}
        seen.append(found)
    common = seen[0].keys() & seen[1].keys() & seen[2].keys()
    assert len(common) > 300
    for other in seen[1:]:
        assert all(torch.equal(seen[0][index][0], other[index][0]) for index in common)
        assert all(torch.equal(seen[0][index][1], other[index][1]) for index in common)


def test_partners_are_training_images_alone() -> None:
    data = digits(mixup=1.0, train_samples=40, batch_size=40, augment=None)
    batch = first_batch(data)
    rows = data.train_set.images.images[data.train_set.rows].flatten(1)  # type: ignore[attr-defined]
    used = {tuple(row) for row in rows.tolist()}
    assert {tuple(row) for row in batch["partner"]["input"].flatten(1).tolist()} <= used
    assert data.num_views == 2**31 - 1
    assert "mixing" in data.fingerprint()
    assert "mixing" not in digits().fingerprint()


def test_nothing_is_mixed_in_evaluation_nor_where_nobody_asks() -> None:
    data = digits(mixup=0.8)
    assert "partner" not in next(iter(data.val_dataloader()))
    plain = digits(mixup=0, cutmix=None)
    assert plain.num_views == 9
    assert "partner" not in first_batch(plain)


def test_student_and_teacher_see_the_same_mixed_images() -> None:
    """So do terms on relations and features; the target has a row of probabilities for each image."""
    seen: dict[str, Tensor] = {}

    class Sees(torch.nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            self.conv = torch.nn.Conv2d(1, 4, 3)
            self.head = torch.nn.Linear(4, 10)

        def forward(self, images: Tensor) -> Tensor:
            seen[self.name] = images
            return self.head(self.conv(images).mean((2, 3)))

    data = digits(mixup=0.8)
    batch = data.on_after_batch_transfer(first_batch(data))
    taps = {"stage1": "conv"}
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        "kd": Term(SoftTarget(), ["student.logits", "teacher.logits"]),
        "attention": Term(AttentionTransfer(), [["student.stage1"], ["teacher.stage1"]]),
    }
    module = DistillationModule(
        Sees("student"), Sees("teacher"), terms, student_taps=taps, teacher_taps=taps, num_classes=10
    )
    signals = module.signals(batch)
    assert torch.equal(seen["student"], batch["input"])
    assert torch.equal(seen["teacher"], batch["input"])
    values = module.objective(signals)
    assert values.total.isfinite()
    log_p = signals["student.logits"].log_softmax(1)
    torch.testing.assert_close(values.raw["ce"], -(signals["target"] * log_p).sum(1).mean())


def test_each_of_several_streams_is_mixed_by_itself() -> None:
    data = digits(mixup=0.8, cutmix=1.0)
    first, second = first_batch(data), first_batch(data, epoch=1)
    plain = {name: value for name, value in second.items() if name != "partner"}
    both = data.on_after_batch_transfer({"labelled": first, "unlabelled": plain})
    alone = data.on_after_batch_transfer(first)
    assert torch.equal(both["labelled"]["input"], alone["input"])
    assert torch.equal(both["labelled"]["target"], alone["target"])
    assert both["unlabelled"]["target"].ndim == 1  # a loader that gives no partners


def test_a_training_that_is_taken_up_within_an_epoch_sees_the_same_images(tmp_path: Path) -> None:
    class Saves(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            if trainer.global_step == 9 and not (tmp_path / "last.ckpt").exists():  # of 13 an epoch, after a step
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    def trained(callback: lightning.Callback, checkpoint: Path | None = None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        data = DigitsDataModule(batch_size=32, mixup=0.8, cutmix=1.0, augment=["crop_flip", "color_jitter"], seed=3)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        terms = {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
        module = DistillationModule(network, terms=terms, num_classes=10)
        trainer = lightning.Trainer(
            max_epochs=2,
            callbacks=[MidEpoch(), callback],
            accelerator="cpu",
            accumulate_grad_batches=2,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        return module.student.state_dict()

    whole = trained(Saves())
    went_on = trained(lightning.Callback(), tmp_path / "last.ckpt")
    assert all(torch.equal(went_on[name], value) for name, value in whole.items())


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
@pytest.mark.parametrize("value", [-1, True, "a", math.nan, 1e9])
def test_a_share_that_cannot_be_is_refused(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"data\.{key}={value}: the a of Beta"):
        DigitsDataModule(**{key: value})


def test_images_without_a_label_are_not_mixed() -> None:
    class Unlabelled(DigitsDataModule):
        def read(self) -> Any:
            sources = super().read()
            targets = sources.train.targets.clone()
            targets[::3] = -1
            train = MemoryImages(sources.train.images, targets)  # type: ignore[attr-defined]
            return type(sources)(train, sources.test)

    with pytest.raises(UserError, match=r"data\.mixup=0\.8: 270 of 809 training images have no label"):
        Unlabelled(mixup=0.8).setup()


def test_what_remembers_images_by_their_index_is_refused_before_anything_is_trained(command: Command) -> None:
    for arguments, said in (
        (("data.mixup=0.8", "loss=[ce,crd]"), "data.mixup=0.8: loss.crd remembers images by their index"),
        (("data.cutmix=1.0", "loss=[ce,dkd]"), "loss.dkd: target=(64, 10): this loss needs one class for each image"),
        (("data.cutmix=1.0", "method=mlkd"), "data.cutmix=1.0: beside data.strong"),
        (("data.mixup=0.8", "teacher.cache=logits"), "data.views=2147483647: the teacher's answers to each view"),
    ):
        refused = command("kd-train", *arguments)
        assert refused.code == 2
        assert said in refused.error_lines[0]


def test_a_run_mixes_and_its_answers_are_kept(command: Command, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    arguments = (
        *("trainer.max_epochs=1", "scratch=false", "teacher.weights=null", "trainer.accumulate_grad_batches=2"),
        *(
            "data.mixup=0.8",
            "data.cutmix=1.0",
            "data.views=3",
            "teacher.cache_bits=32",
            "loss=[ce,kd]",
            "trainer.log_every_n_steps=1",
        ),
    )
    losses = []
    for run, cache in enumerate(("off", "prefill", "logits")):
        made = command("kd-train", *arguments, f"teacher.cache={cache}", f"hydra.run.dir={run}")
        assert made.code == 0, made.errors
        losses.append(pd.read_csv(tmp_path / str(run) / "metrics.csv")["train/loss"].dropna().tolist())
    assert losses[1] == losses[2]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert command("kd-cache", "verify").code == 0
