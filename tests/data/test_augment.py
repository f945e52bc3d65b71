"""Augmentation: pure functions of images and views, pixel-equal to torchvision's for the same draw."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from kd_lightning.data import CropFlip, Identity, view_of
from kd_lightning.data.folders.crops import SCALE, crop_box, draws, training_image
from kd_lightning.errors import UserError
from kd_lightning.store.hashing import fold


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("augment", "shape", "views"),
    [
        (CropFlip(padding=4, flip=True), (3, 32, 32), 162),
        (CropFlip(padding=1, flip=False), (1, 8, 8), 9),
        (CropFlip(padding=2, flip=True), (2, 5, 9), 50),
        (CropFlip(padding=0, flip=True), (3, 4, 4), 2),
    ],
)
def test_every_view_is_one_of_torchvisions_crops_and_flips(augment, shape, views):
    assert augment.num_views == views
    images = noise(views, *shape)
    ours = augment(images, torch.arange(views))
    draws = zip(*(values.tolist() for values in augment.draw(torch.arange(views))), strict=True)
    seen = set()
    for image, out, (top, left, mirrored) in zip(images, ours, draws, strict=True):
        expected = F.crop(F.pad(image, [augment.padding] * 4), top, left, *shape[1:])
        assert torch.equal(out, F.hflip(expected) if mirrored else expected)
        seen.add((top, left, mirrored))
    assert len(seen) == views


def test_a_view_does_not_depend_on_the_rest_of_the_batch():
    augment, images, views = CropFlip(), noise(8, 3, 32, 32), torch.arange(8) * 20
    before = images.clone()
    together = augment(images, views)
    apart = torch.cat([augment(images[i : i + 1], views[i : i + 1]) for i in range(8)])
    assert torch.equal(together, apart)
    assert torch.equal(images, before)
    assert torch.equal(augment(images.float(), views), together.float())
    assert torch.equal(augment(images.to(memory_format=torch.channels_last), views), together)


def test_identity_has_one_view():
    images = noise(2, 3, 4, 4)
    assert Identity().num_views == 1
    assert torch.equal(Identity()(images, torch.zeros(2, dtype=torch.long)), images)


def test_negative_padding_is_refused():
    with pytest.raises(UserError, match=r"data\.augment\.padding=-1"):
        CropFlip(padding=-1)


def test_views_are_a_function_of_seed_epoch_and_index():
    index = torch.arange(1000)
    views = view_of(3, 7, index, 162)
    shuffled = torch.randperm(1000)
    assert views.dtype == torch.int64
    assert torch.equal(view_of(3, 7, index[shuffled], 162), views[shuffled])
    for other in (view_of(4, 7, index, 162), view_of(3, 8, index, 162), view_of(7, 3, index, 162)):
        assert (other == views).float().mean() < 0.05
    # These values are promised for ever: answers kept for a view would else be another view's.
    assert view_of(3, 7, torch.tensor([0, 1, 49_999]), 2**31 - 1).tolist() == [2086323487, 514592289, 1160776132]


def test_views_are_spread_evenly():
    counts = torch.stack([view_of(0, e, torch.arange(16_200), 162).bincount(minlength=162) for e in range(4)]).double()
    for row in (counts.sum(0), *counts):  # chi-square with 161 degrees of freedom: mean 161, standard deviation 18
        assert ((row - row.mean()) ** 2 / row.mean()).sum() < 161 + 5 * 18
    assert (view_of(0, 0, torch.arange(1000), 1) == 0).all()


def test_one_image_sees_its_views_evenly_over_the_epochs():
    seen = torch.cat([view_of(0, epoch, torch.tensor([17]), 18) for epoch in range(1800)]).bincount(minlength=18)
    assert ((seen - 100.0) ** 2 / 100).sum() < 17 + 5 * 6


def test_fold_tells_sequences_apart():
    sequences = [(a, b) for a in (-1, 0, 1, 2**32, 2**40) for b in (0, 1, 2, 2**32)]
    assert len({fold(*s) for s in sequences}) == len(sequences)
    assert fold(1, 2) != fold(2, 1) != fold(2)


def test_crops_are_distributed_as_torchvision_draws_them():
    height, width, n = 300, 400, 3000
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    ours = torch.tensor([crop_box(height, width, draws(i, 0)) for i in range(n)], dtype=torch.double)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(image, list(SCALE), [3 / 4, 4 / 3]) for _ in range(n)], dtype=torch.double
    )
    for measure in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        a, b = measure(ours).sort().values, measure(theirs).sort().values
        both = torch.cat([a, b])
        gap = (torch.searchsorted(a, both, right=True) - torch.searchsorted(b, both, right=True)).abs().max() / n
        assert gap < 1.95 * (2 / n) ** 0.5  # Kolmogorov-Smirnov at 0.1 %


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10), (1, 1), (224, 224), (37, 500)])
def test_crops_lie_within_the_image(height, width):
    for i in range(50):
        top, left, h, w = crop_box(height, width, draws(i, 1))
        assert top >= 0
        assert left >= 0
        assert 0 < h <= height - top
        assert 0 < w <= width - left


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10)])
def test_an_image_too_narrow_for_any_crop_gives_torchvisions_centre(height, width):
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), list(SCALE), [3 / 4, 4 / 3])
    assert crop_box(height, width, draws(0, 0)) == expected


def test_a_training_image_is_torchvisions_resized_crop_of_its_box_to_a_rounding(tmp_path):
    image, path = Image.fromarray(noise(50, 70, 3).numpy()), tmp_path / "noise.png"
    image.save(path)
    sides = set()
    for view in range(20):
        chances = draws(5, view)
        expected = F.resized_crop(image, *crop_box(50, 70, chances), [24, 24])
        mirrored = chances[-1] < 0.5
        sides.add(mirrored)
        out = training_image(path, 24, 5, view)
        assert (out.int() - F.pil_to_tensor(F.hflip(expected) if mirrored else expected)).abs().max() <= 1
        assert torch.equal(out, training_image(path, 24, 5, view))
    assert sides == {True, False}


@pytest.mark.gpu
def test_the_gpu_shows_the_same_views_without_waiting():
    images, index = noise(64, 3, 32, 32), torch.arange(64)
    views = view_of(1, 2, index, 162)
    expected = CropFlip()(images, views)
    images, index = images.cuda(), index.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = view_of(1, 2, index, 162)
        out = CropFlip()(images, there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(there.cpu(), views)
    assert torch.equal(out.cpu(), expected)
