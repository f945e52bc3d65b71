"""The strongly augmented second view of a training image, from the data to a term."""

import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.data import DigitsDataModule, RandAugment
from kd_lightning.data.strong import OPERATIONS
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, SoftTarget
from tests.conftest import Command

IMAGES = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_strong_view_is_a_function_of_image_and_view_alone() -> None:
    augment, views = RandAugment(), torch.arange(40)
    whole = augment(IMAGES, views)
    torch.rand(7)
    alone = torch.cat([augment(IMAGES[n : n + 1], views[n : n + 1]) for n in range(40)])
    assert torch.equal(whole, alone)
    assert whole.dtype == torch.uint8
    assert not torch.equal(whole, augment(IMAGES, views + 1))


@pytest.mark.parametrize("operation", range(len(OPERATIONS)))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_works_on_colour_and_grey_at_both_ends(operation: int, channels: int) -> None:
    apply, low, high = OPERATIONS[operation]
    for strength in (low, high):
        image = apply(IMAGES[0, :channels], strength)
        assert image.shape == (channels, 32, 32)
        assert image.dtype == torch.uint8


def test_without_operations_and_square_nothing_changes() -> None:
    assert torch.equal(RandAugment(0, 0.0)(IMAGES, torch.arange(40)), IMAGES)


def test_the_square_covers_at_most_its_share() -> None:
    changed = RandAugment(0, 0.5)(IMAGES, torch.arange(40)) != IMAGES
    shares = changed.any(1).float().mean((1, 2))
    assert 0 < shares.max() <= 0.26
    assert shares.std() > 0.01


@pytest.mark.parametrize(("options", "words"), [((-1, 0.5), "operations=-1"), ((2, 1.5), "largest_square=1.5")])
def test_bad_arguments(options: tuple[int, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        RandAugment(*options)


def batches(epoch: int) -> dict[int, Tensor]:
    data = DigitsDataModule(strong=RandAugment(), seed=3)
    data.setup()
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    strong = [data.on_after_batch_transfer(batch) for batch in loader]
    assert all(batch["input_strong"].dtype == torch.float32 for batch in strong)
    return {int(i): x for batch in strong for i, x in zip(batch["index"], batch["input_strong"], strict=True)}


def test_training_batches_carry_it_and_it_can_be_replayed() -> None:
    first, again, later = batches(0), batches(0), batches(1)
    assert all(torch.equal(first[i], again[i]) for i in first)
    both = [i for i in first if i in later]
    assert any(not torch.equal(first[i], later[i]) for i in both)


def test_evaluation_batches_carry_none() -> None:
    data = DigitsDataModule(strong=RandAugment())
    data.setup()
    assert "input_strong" not in next(iter(data.test_dataloader()))


def test_a_term_takes_what_the_networks_make_of_it() -> None:
    student, teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    terms = {
        "weak": Term(CrossEntropy(), ["student.logits", "target"]),
        "strong": Term(SoftTarget(1.0), ["student.strong.logits", "teacher.strong.logits"]),
    }
    module = DistillationModule(student, teacher, terms)
    batch = {"input": torch.rand(5, 4), "input_strong": torch.rand(5, 4), "target": torch.zeros(5, dtype=torch.long)}
    signals = module.signals(batch)
    assert torch.equal(signals["student.strong.logits"], student(batch["input_strong"]))
    assert torch.equal(signals["teacher.strong.logits"], teacher(batch["input_strong"]))
    assert torch.equal(signals["student.logits"], student(batch["input"]))
    assert not any(name.startswith("input") for name in signals)


def test_data_without_a_strong_view_are_refused(command: Command) -> None:
    outcome = command("kd-train", "loss=[ce,mlkd]", "teacher.weights=null", "scratch=false", "trainer.max_steps=2")
    assert outcome.code == 2
    assert "data.strong=null" in outcome.error_lines[0]


def test_who_takes_one_view_is_given_one() -> None:
    data = DigitsDataModule(strong=RandAugment())
    plain = data.without_strong_views()
    assert "input_strong" in next(iter(data.train_dataloader()))
    assert "input_strong" not in next(iter(plain.train_dataloader()))
    assert "input_strong" in next(iter(data.train_dataloader()))
