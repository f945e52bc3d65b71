"""Random operations on whole batches: what torchvision and Pillow make of each image by itself."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from kd_lightning.data.augmentation import operations as do
from kd_lightning.data.augmentation.batched import ColorJitter, RandomErasing, rand_augment, trivial_augment
from kd_lightning.data.augmentation.operations import chance

VIEWS = torch.arange(4000) * 7919


def pictures(count: int, channels: int = 3, size: int = 24) -> Tensor:
    """Smooth ones with noise."""
    draw = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, channels, 4, 4, generator=draw) * 200
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (smooth + torch.rand(count, channels, size, size, generator=draw) * 55).to(torch.uint8)


COLOURS: dict[str, tuple[do.Change, Callable[[Tensor, float], Tensor]]] = {
    "brightness": (do.brightness, F.adjust_brightness),
    "saturation": (do.saturation, F.adjust_saturation),
    "contrast": (do.contrast, F.adjust_contrast),
    "sharpness": (do.sharpness, F.adjust_sharpness),
    "posterize": (do.posterize, lambda image, bits: F.posterize(image, int(bits))),
    "solarize": (do.solarize, F.solarize),
    "autocontrast": (do.autocontrast, lambda image, _: F.autocontrast(image)),
    "equalize": (do.equalize, lambda image, _: F.equalize(image)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_operation_is_torchvisions_to_a_rounding(name: str, channels: int) -> None:
    ours, theirs = COLOURS[name]
    images = pictures(16, channels)
    strengths = torch.linspace(0.05, 1.95, 16, dtype=torch.float64)
    if name in ("posterize", "solarize"):
        strengths = torch.arange(16).double() % 7 + 2 if name == "posterize" else torch.linspace(0, 255, 16).double()
    made = ours(images, strengths)
    expected = torch.stack([theirs(image, float(one)) for image, one in zip(images, strengths, strict=True)])
    difference = (made.int() - expected.int()).abs()
    assert int(difference.max()) <= 1
    assert float((difference > 0).double().mean()) < 0.02


ROTATED = math.cos(0.4), math.sin(0.4)
GEOMETRY: dict[str, tuple[do.Change, float, tuple[float, ...]]] = {
    "shear_x": (do.shear_x, 0.3, (1, 0.3, 0, 0, 1, 0)),
    "shear_y": (do.shear_y, -0.2, (1, 0, 0, -0.2, 1, 0)),
    "translate_x": (do.translate_x, 3.9, (1, 0, 3, 0, 1, 0)),
    "translate_y": (do.translate_y, -3.9, (1, 0, 0, 0, 1, -3)),
    "rotate": (
        do.rotate,
        math.degrees(0.4),
        (
            *(ROTATED[0], -ROTATED[1], 12 - 12 * ROTATED[0] + 12 * ROTATED[1]),
            *(ROTATED[1], ROTATED[0], 12 - 12 * ROTATED[1] - 12 * ROTATED[0]),
        ),
    ),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_a_geometric_operation_is_pillows(name: str) -> None:
    change, strength, matrix = GEOMETRY[name]
    images = pictures(3)
    made = change(images, torch.tensor([strength, 0.0, strength], dtype=torch.float64))
    assert torch.equal(made[1], images[1])
    for place in (0, 2):
        picture = Image.fromarray(images[place].permute(1, 2, 0).numpy())
        moved = picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
        found = made[place].permute(1, 2, 0).numpy()
        assert (found == np.asarray(moved)).all(axis=2).mean() > 0.99  # Pillow steps in fixed point


def test_rand_augment_draws_two_operations_of_magnitude_nine() -> None:
    images = pictures(40)
    views = VIEWS[:40]
    made = rand_augment()(images, views)
    share, size = 9 / 30, images.shape[-1]
    for place, view in enumerate(views):
        image = images[place : place + 1]
        for number in (0, 3):
            drawn, _, side = (float(chance(view[None], number + further)) for further in range(3))
            sign = -1 if side < 0.5 else 1
            shift, factor = 150 / 331 * size * share * sign, 1 + 0.9 * share * sign
            strengths = [0, 0.3 * share * sign, 0.3 * share * sign, shift, shift, 30 * share * sign, *[factor] * 4]
            strengths += [round(8 - 4 * share), 255 * (1 - share), 0, 0]
            order = [do.same, do.shear_x, do.shear_y, do.translate_x, do.translate_y, do.rotate, do.brightness]
            order += [do.saturation, do.contrast, do.sharpness, do.posterize, do.solarize, do.autocontrast, do.equalize]
            which = int(drawn * 14)
            image = order[which](image, torch.tensor([strengths[which]], dtype=torch.float64))
        assert torch.equal(image[0], made[place])


@pytest.mark.parametrize("augment", [rand_augment(), trivial_augment(), ColorJitter(), RandomErasing()])
def test_it_is_the_same_in_any_batch_and_in_both_ways(augment: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU each image goes its own way, elsewhere all go all ways, and one is taken."""
    assert callable(augment)
    images, views = pictures(48), VIEWS[:48]
    made = augment(images, views)
    order = torch.randperm(48)[:20]
    assert torch.equal(augment(images[order], views[order]), made[order])
    assert (made != images).flatten(1).any(dim=1).sum() > 15

    def as_elsewhere(changes: list[do.Change], chosen: Tensor, given: Tensor, strengths: Tensor) -> Tensor:
        found = given
        for number, change in enumerate(changes):
            found = torch.where((chosen == number).view(-1, 1, 1, 1), change(given, strengths), found)
        return found

    monkeypatch.setattr("kd_lightning.data.augmentation.batched.one_of", as_elsewhere)
    assert torch.equal(augment(images, views), made)


def test_what_is_drawn_is_uniform() -> None:
    both = [chance(VIEWS, number).numpy() for number in (0, 1)]
    assert all(stats.kstest(one, "uniform").pvalue > 1e-3 for one in both)
    assert abs(np.corrcoef(*both)[0, 1]) < 0.06


def test_half_of_the_images_are_erased_by_shares_and_ratios_in_range() -> None:
    images = torch.full((2000, 1, 100, 100), 255, dtype=torch.uint8)
    erased = RandomErasing()(images, VIEWS[:2000])[:, 0] == 0
    count = erased.flatten(1).sum(dim=1)
    assert abs(float((count > 0).double().mean()) - 0.5) < 0.05
    tall, wide = erased.any(dim=2).sum(dim=1)[count > 0], erased.any(dim=1).sum(dim=1)[count > 0]
    assert torch.equal(tall * wide, count[count > 0])  # a rectangle
    share = (tall * wide).double() / 100**2
    assert 0.015 < float(share.min()) < float(share.max()) < 0.35
    assert stats.kstest(share.numpy(), stats.uniform(0.02, 0.31).cdf).pvalue > 1e-4
    ratio = (tall.double() / wide).log()
    assert abs(float(ratio.mean()) - math.log(0.3 * 3.3) / 2) < 0.15


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augment", [rand_augment(), trivial_augment(), ColorJitter(), RandomErasing()])
def test_a_gpu_makes_the_same_images_without_waiting(augment: object) -> None:
    assert callable(augment)
    images, views = pictures(64), VIEWS[:64]
    expected = augment(images, views)
    there = images.cuda(), views.cuda()
    augment(*there)
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = augment(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    difference = (made.cpu().int() - expected.int()).abs()
    assert float((difference > 0).double().mean()) < 1e-3  # a cosine in its last place
