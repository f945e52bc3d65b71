"""Wrong labels: how many, which, whose, and what else follows from them."""

import json
from pathlib import Path

import pytest
import torch

from kd_lightning.data import DigitsDataModule, MemoryImages
from kd_lightning.data.labels.noise import mislabelled
from tests.conftest import Command

TARGETS = torch.arange(5).repeat(2000)
ROWS = torch.arange(0, 10_000, 2)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_a_share_is_wrong_and_each_other_class_as_likely(share: float) -> None:
    found = mislabelled(TARGETS, ROWS, share, 5, seed=3)
    wrong = found != TARGETS
    assert int(wrong.sum()) == round(share * len(ROWS))
    assert int(wrong[1::2].sum()) == 0  # what is not trained on keeps its labels
    pairs = torch.zeros(5, 5).index_put_((TARGETS[wrong], found[wrong]), torch.ones(int(wrong.sum())), accumulate=True)
    expected = int(wrong.sum()) / 20
    off_diagonal = pairs[~torch.eye(5, dtype=torch.bool)]
    assert bool(((off_diagonal - expected).abs() <= 5 * max(expected, 1e-9) ** 0.5).all())  # five standard deviations
    assert float(pairs.trace()) == 0


def test_the_seed_decides_which_and_a_larger_share_has_those_of_a_smaller_one_wrong() -> None:
    few, more, again, other = (
        mislabelled(TARGETS, ROWS, share, 5, seed) for share, seed in ((0.1, 3), (0.4, 3), (0.1, 3), (0.1, 4))
    )
    assert torch.equal(few, again)
    assert not torch.equal(few, other)
    wrong = few != TARGETS
    assert torch.equal(few[wrong], more[wrong])


def test_what_has_no_label_has_none_afterwards() -> None:
    targets = torch.tensor([0, 1, -1, 2, -100, 0])
    found = mislabelled(targets, torch.arange(6), 0.5, 3, seed=0)
    assert found[[2, 4]].tolist() == [-1, -100]
    assert int((found != targets).sum()) == 2  # of the four that have one


@pytest.mark.parametrize("options", [{}, {"sampler": "balanced"}, {"mixup": 1.0}, {"train_samples": 100}])
def test_training_sees_them_wherever_it_looks_and_nothing_else_does(options: dict[str, object]) -> None:
    plain, noisy = DigitsDataModule(**options), DigitsDataModule(label_noise=0.4, **options)  # type: ignore[arg-type]
    for data in (plain, noisy):
        data.setup()
    images = noisy.train_set.images
    assert isinstance(images, MemoryImages)
    labels = torch.full_like(images.targets, -7)
    labels[noisy.train_set.rows] = noisy.train_set.targets
    wrong = noisy.train_set.targets != images.targets[noisy.train_set.rows]
    assert int(wrong.sum()) == round(0.4 * len(wrong))
    for batch in noisy.train_dataloader():
        assert torch.equal(batch["target"], labels[batch["index"]])
        if "partner" in batch:
            pixels = batch["partner"]["input"].flatten(1).tolist()
            shown = {
                tuple(image): int(label) for image, label in zip(images.images.flatten(1).tolist(), labels, strict=True)
            }
            assert [shown[tuple(image)] for image in pixels] == batch["partner"]["target"].tolist()
    assert torch.equal(noisy.training_set()["target"], noisy.train_set.targets)
    for one, other in zip((plain.val_set, plain.test_set), (noisy.val_set, noisy.test_set), strict=True):
        assert torch.equal(one.targets, other.targets)
    assert torch.equal(plain.train_set.rows, noisy.train_set.rows)
    without = {name: value for name, value in noisy.fingerprint().items() if not name.startswith("label_noise")}
    assert without == plain.fingerprint() != noisy.fingerprint()
    assert noisy.fingerprint() != DigitsDataModule(label_noise=0.4, seed=1, **options).fingerprint()  # type: ignore[arg-type]


SMALL = ("trainer.max_epochs=1", "callbacks.progress_bar=null", "teacher.model=digits_cnn_4", "scratch=false")


def test_a_teacher_is_trained_anew_on_them_and_the_summary_tells(command: Command, tmp_path: Path) -> None:
    for run, noise in (("plain", "null"), ("noisy", "0.3"), ("again", "0.3")):
        arguments = (*SMALL, f"data.label_noise={noise}", f"paths.cache_dir={tmp_path / 'store'}")
        outcome = command("kd-train", *arguments, "trainer.max_steps=2", f"hydra.run.dir={run}")
        assert outcome.code == 0, outcome.errors
        assert ("training (" in outcome.output) == (run != "again")
        told = json.loads((tmp_path / run / "summary.json").read_text())["data"]
        assert told.get("label_noise") == (None if run == "plain" else 0.3)


@pytest.mark.parametrize("value", ["1", "-0.1", "some", "true"])
def test_a_share_that_is_none_is_told_in_a_line(command: Command, value: str) -> None:
    outcome = command("kd-train", *SMALL, f"data.label_noise={value}", "hydra.run.dir=run")
    assert outcome.code == 2
    assert outcome.error_lines[0].startswith(f"error: data.label_noise={value}: ")
    assert not (outcome.folder / "run" / "checkpoints").exists()
