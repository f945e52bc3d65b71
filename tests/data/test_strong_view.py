"""The strongly augmented second view of a training image, from the data to a term."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.data import DigitsDataModule, RandAugment
from kd_lightning.data.augmentation.strong import OPERATIONS, _square
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


def as_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("strength", [-0.296875, -0.0625, 0.0, 0.015625, 0.28125])
@pytest.mark.parametrize(
    ("operation", "matrix"),
    [
        (10, lambda v, width, height: (1, v, 0, 0, 1, 0)),
        (11, lambda v, width, height: (1, 0, 0, v, 1, 0)),
        (12, lambda v, width, height: (1, 0, v * width, 0, 1, 0)),
        (13, lambda v, width, height: (1, 0, 0, 0, 1, v * height)),
    ],
)
def test_shears_by_the_slope_about_the_corner_and_shifts_are_pils(
    operation: int, matrix: Callable[..., tuple[float, ...]], strength: float
) -> None:
    """The strengths are multiples of 1/64, of which PIL's fixed-point numbers lose nothing."""
    apply, low, high = OPERATIONS[operation]
    assert (low, high) == (-0.3, 0.3)
    for image in (IMAGES[0], IMAGES[1, :, :20], IMAGES[2, :, :, :24]):
        drawn = as_pil(image)
        expected = drawn.transform(drawn.size, Image.Transform.AFFINE, matrix(strength, *drawn.size))
        assert torch.equal(apply(image, strength), pixels(expected))


@pytest.mark.parametrize("degrees", [-30, -12.5, 0, 7, 29.9])
def test_rotations_are_pils(degrees: float) -> None:
    """But for the few pixels where its fixed-point numbers fall on the other side."""
    apply, low, high = OPERATIONS[9]
    assert (low, high) == (-30, 30)
    same = apply(IMAGES[0], degrees) == pixels(as_pil(IMAGES[0]).rotate(degrees))
    assert same.float().mean() > 0.99


@pytest.mark.parametrize("threshold", [0, 100, 254.5, 255.5, 256])
def test_solarized_images_are_pils(threshold: float) -> None:
    apply, low, high = OPERATIONS[8]
    assert (low, high) == (0, 256)
    expected = ImageOps.solarize(as_pil(IMAGES[0]), threshold)  # type: ignore[arg-type]
    assert torch.equal(apply(IMAGES[0], threshold), pixels(expected))


@pytest.mark.parametrize(
    ("size", "x", "y"),
    [(0.5, 0.5, 0.5), (0.49, 0.0, 0.99), (0.3, 0.01, 0.2), (0.01, 0.999, 0.999), (0.26, 0.95, 0.05), (1e-9, 0.3, 0.6)],
)
def test_the_square_is_pils_rectangle(size: float, x: float, y: float) -> None:
    """From the corner that the image's edge stops, as far as the side goes, the last pixel included."""
    image = as_pil(IMAGES[0])
    left, top = (int(max(0, place * 32 - size * 16)) for place in (x, y))
    corners = (left, top, min(32, left + size * 32), min(32, top + size * 32))
    ImageDraw.Draw(image).rectangle(corners, (125, 123, 114))
    assert torch.equal(_square(IMAGES[0], size, x, y), pixels(image))


def test_the_square_covers_85_of_1024_pixels_on_the_mean() -> None:
    """The mean over the side of (mean over the place of the length)², for both places are drawn alike."""
    black, grid = torch.zeros(1, 32, 32, dtype=torch.uint8), (torch.arange(96) + 0.5) / 96
    lengths = [[_square(black, s / 2, x, 0.5).any(1).sum() for x in grid.tolist()] for s in grid.tolist()]
    assert torch.tensor(lengths).double().mean(1).square().mean().item() == pytest.approx(85.4, abs=0.05)
    changed = RandAugment(0, 0.5)(IMAGES.clamp(max=100), torch.arange(40)) != IMAGES.clamp(max=100)
    areas = changed.any(1).sum((1, 2))
    assert areas.max() <= 17**2
    assert areas.float().std() > 10


def test_a_square_is_grey_on_any_number_of_channels() -> None:
    for channels in (1, 2, 4):
        covered = _square(torch.zeros(channels, 8, 8, dtype=torch.uint8), 1.0, 0.5, 0.5)
        assert covered.unique().tolist() == [121]


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
        "strong": Term(SoftTarget(1.0), ["student@strong.logits", "teacher@strong.logits"]),
    }
    module = DistillationModule(student, teacher, terms)
    batch = {"input": torch.rand(5, 4), "input_strong": torch.rand(5, 4), "target": torch.zeros(5, dtype=torch.long)}
    signals = module.signals(batch)
    torch.testing.assert_close(signals["student@strong.logits"], student(batch["input_strong"]))
    torch.testing.assert_close(signals["teacher@strong.logits"], teacher(batch["input_strong"]))
    torch.testing.assert_close(signals["student.logits"], student(batch["input"]))
    assert not any(name.startswith("input") for name in signals)


def test_data_without_a_strong_view_are_refused(command: Command) -> None:
    outcome = command("kd-train", "loss=[ce,mlkd]", "teacher.weights=null", "scratch=false", "trainer.max_steps=2")
    assert outcome.code == 2
    assert "data.strong=null" in outcome.error_lines[0]


def test_who_takes_one_view_is_given_one() -> None:
    data = DigitsDataModule(strong=RandAugment())
    plain = data.with_views([])
    assert "input_strong" in next(iter(data.train_dataloader()))
    assert "input_strong" not in next(iter(plain.train_dataloader()))
    assert "input_strong" in next(iter(data.train_dataloader()))
