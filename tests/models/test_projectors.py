"""Projectors between any two shapes."""

import itertools

import pytest
import torch
from torch import nn

from kd_lightning.models.projectors import Bridge, Regressor

Shape = tuple[int, ...]
MAPS: list[tuple[Shape, Shape]] = [
    ((4, 8, 8), (6, 8, 8)),  # equal
    ((4, 8, 8), (6, 4, 4)),  # halved
    ((4, 4, 4), (6, 8, 8)),  # doubled
    ((4, 8, 8), (6, 7, 7)),  # one less
    ((4, 8, 8), (6, 2, 2)),  # the largest small difference
    ((4, 15, 15), (6, 8, 8)),  # one more than a small difference
    ((4, 7, 7), (6, 4, 4)),
    ((4, 5, 5), (6, 9, 9)),
    ((4, 3, 3), (6, 32, 32)),
    ((4, 8, 5), (6, 4, 7)),  # one dimension larger, the other smaller
    ((4, 3, 16), (6, 9, 2)),
    ((4, 8, 4), (6, 4, 4)),
    ((4, 4, 8), (6, 8, 8)),
    ((4, 1, 1), (6, 1, 1)),
    ((1, 2, 2), (6, 1, 1)),
    ((4, 1, 1), (1, 2, 2)),
]
KINDS: list[Shape] = [(5,), (1,), (7, 5), (1, 3), (5, 4, 6), (2, 1, 1)]
SHAPES = MAPS + [pair for pair in itertools.product(KINDS, repeat=2) if pair not in MAPS]
CONVOLUTION_BIAS = ("0.bias", "0.1.bias")  # directly, or after a change of size
every_pair = pytest.mark.parametrize(("student", "teacher"), SHAPES, ids=str)


@every_pair
def test_reaches_the_teachers_shape(student: Shape, teacher: Shape) -> None:
    regressor = Regressor(student, teacher)
    projected = regressor(torch.randn(3, *student))
    assert projected.shape == (3, *teacher)
    regressor.eval()
    assert regressor(torch.randn(1, *student)).shape == (1, *teacher)


@every_pair
def test_gradients_reach_every_parameter_and_the_student(student: Shape, teacher: Shape) -> None:
    regressor, feature = Regressor(student, teacher), torch.randn(4, *student, requires_grad=True)
    with torch.no_grad():
        for module in regressor.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(2.0)  # most values pass the ReLU, so that a gradient of 0 means a part left out
    projected = regressor(feature)
    (projected * torch.randn_like(projected)).sum().backward()
    for name, parameter in regressor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # Batch normalisation takes away any bias before it.
        assert (len(student) == len(teacher) == 3 and name.endswith(CONVOLUTION_BIAS)) or parameter.grad.any(), name
    assert feature.grad is not None
    assert feature.grad.isfinite().all()
    assert feature.grad.any()


@pytest.mark.parametrize(
    ("size", "wanted", "published"),
    [
        (8, 4, nn.Conv2d(4, 6, 3, stride=2, padding=1)),
        (4, 8, nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1)),
        (8, 8, nn.Conv2d(4, 6, 1)),
        (8, 7, nn.Conv2d(4, 6, 2)),
        (8, 5, nn.Conv2d(4, 6, 4)),
    ],
    ids=["halves", "doubles", "equal", "one less", "three less"],
)
def test_the_published_convolutions(size: int, wanted: int, published: nn.Module) -> None:
    """ReLU(BN(conv)) with RepDistiller's convolutions: given its weights, the same values."""
    regressor = Regressor((4, size, size), (6, wanted, wanted)).double()
    reference = nn.Sequential(published, nn.BatchNorm2d(6), nn.ReLU()).double()
    ours, theirs = list(regressor.state_dict().values()), reference.state_dict()
    assert [value.shape for value in ours] == [value.shape for value in theirs.values()]
    regressor.load_state_dict(dict(zip(regressor.state_dict(), theirs.values(), strict=True)))
    feature = torch.randn(3, 4, size, size, dtype=torch.float64)
    torch.testing.assert_close(regressor(feature), reference(feature))


@pytest.mark.parametrize(
    ("size", "wanted", "resize"),
    [(20, 4, nn.AdaptiveAvgPool2d(4)), (4, 9, nn.Upsample(9, mode="bilinear"))],
    ids=["pooled", "enlarged"],
)
def test_sizes_farther_apart(size: int, wanted: int, resize: nn.Module) -> None:
    regressor = Regressor((4, size, size), (6, wanted, wanted)).double()
    reference = nn.Sequential(resize, nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.ReLU()).double()
    reference.load_state_dict(
        dict(zip(reference.state_dict(), regressor.state_dict().values(), strict=True)),
    )
    feature = torch.randn(3, 4, size, size, dtype=torch.float64)
    torch.testing.assert_close(regressor(feature), reference(feature))


@pytest.mark.parametrize("teacher", [(6, 8, 8), (6, 4, 4), (6, 16, 16), (6, 3, 11)], ids=str)
def test_maps_come_out_like_activations(teacher: Shape) -> None:
    projected = Regressor((4, 8, 8), teacher)(torch.randn(8, 4, 8, 8))
    assert projected.min().item() == 0.0
    assert projected.max().item() > 1.0


@pytest.mark.parametrize(("student", "teacher"), [((5,), (9,)), ((7, 5), (7, 9)), ((5, 2, 2), (9,)), ((5,), (9, 3, 3))])
def test_vectors_and_tokens_come_out_signed(student: Shape, teacher: Shape) -> None:
    assert Regressor(student, teacher)(torch.randn(8, *student)).min().item() < 0.0


def test_a_bridge_maps_channels_and_keeps_what_it_can_of_the_positions() -> None:
    token, grid = torch.randn(2, 6, 5), torch.randn(2, 5, 2, 3)
    same = Bridge((6, 5), (6, 4))
    torch.testing.assert_close(same(token), same.linear(token))
    pooled = Bridge((5, 2, 3), (4,))
    torch.testing.assert_close(pooled(grid), pooled.linear(grid.mean(dim=(2, 3))))
    repeated = Bridge((5,), (4, 2, 3))
    torch.testing.assert_close(repeated(grid[:, :, 0, 0])[:, :, 1, 2], repeated.linear(grid[:, :, 0, 0]))
    flattened = Bridge((5, 2, 3), (6, 4))
    torch.testing.assert_close(flattened(grid)[:, 4], flattened.linear(grid[:, :, 1, 1]))
