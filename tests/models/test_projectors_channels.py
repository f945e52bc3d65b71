"""Projectors from one map's channels to another's, and batches of one."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from kd_lightning.errors import UserError
from kd_lightning.models.projectors import (
    ChannelConnector,
    Connector,
    Regressor,
    SimKDProjector,
    SRRLConnector,
    VIDRegressor,
)

Shape = tuple[int, ...]
Make = Callable[[Shape, Shape], nn.Module]
SMALL: dict[str, tuple[Make, Shape, Shape, Shape]] = {
    "vid equal": (VIDRegressor, (3, 4, 4), (5, 4, 4), (5, 4, 4)),
    "vid larger": (VIDRegressor, (3, 4, 5), (5, 2, 2), (5, 2, 2)),
    "vid smaller": (VIDRegressor, (3, 2, 2), (5, 4, 4), (5, 2, 2)),
    "ofd": (ChannelConnector, (3, 4, 5), (5, 2, 2), (5, 4, 5)),
    "ofd 1x1": (ChannelConnector, (3, 1, 1), (5, 1, 1), (5, 1, 1)),
    "srrl": (SRRLConnector, (3,), (5,), (5,)),
    "simkd equal": (SimKDProjector, (3, 4, 4), (6, 4, 4), (6, 4, 4)),
    "simkd larger": (SimKDProjector, (3, 4, 4), (6, 2, 2), (6, 2, 2)),
    "simkd smaller": (SimKDProjector, (3, 2, 2), (6, 4, 4), (6, 2, 2)),
    "simkd crossing": (SimKDProjector, (3, 4, 2), (6, 2, 3), (6, 2, 2)),
    "simkd one channel": (SimKDProjector, (3, 1, 1), (1, 1, 1), (1, 1, 1)),
    "connector": (Connector, (3, 4, 4), (5, 2, 2), (5, 2, 2)),
    "connector 1x1": (Connector, (3, 1, 1), (5, 1, 1), (5, 1, 1)),
    "connector of vectors": (Connector, (3,), (5,), (5,)),
    "regressor 1x1": (Regressor, (3, 1, 1), (5, 1, 1), (5, 1, 1)),
}


@pytest.mark.parametrize(("make", "student", "teacher", "wanted"), SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("batch", [1, 4])
def test_shape_and_gradients(make: Make, student: Shape, teacher: Shape, wanted: Shape, batch: int) -> None:
    """In training, also of a batch of one, where a 1x1 map has no variance."""
    projector, feature = make(student, teacher), torch.randn(batch, *student, requires_grad=True)
    projected = projector(feature)
    assert projected.shape == (batch, *wanted)
    (projected * torch.randn_like(projected)).sum().backward()
    assert feature.grad is not None
    assert feature.grad.isfinite().all()
    for name, parameter in projector.named_parameters():
        assert parameter.grad is not None, name


def test_a_batch_of_one_leaves_the_statistics_alone() -> None:
    connector = SRRLConnector((3,), (5,))
    before = {name: value.clone() for name, value in connector.named_buffers()}
    feature = torch.randn(1, 3)
    assert torch.equal(connector(feature), connector.eval()(feature))
    for name, value in connector.named_buffers():
        assert torch.equal(value, before[name]), name


def test_a_connector_of_equal_shapes_does_nothing() -> None:
    connector, feature = Connector((3, 4, 4), (3, 4, 4)), torch.randn(2, 3, 4, 4)
    assert list(connector.parameters()) == []
    assert connector(feature) is feature


def test_a_connector_keeps_the_sign() -> None:
    assert Connector((3, 4, 4), (5, 4, 4))(torch.randn(8, 3, 4, 4)).min().item() < 0
    assert ChannelConnector((3, 4, 4), (5, 4, 4))(torch.randn(8, 3, 4, 4)).min().item() < 0


def test_the_published_start_of_channel_connectors() -> None:
    weight = ChannelConnector((400, 1, 1), (100, 1, 1)).get_parameter("project.0.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 100), rel=0.02)


@pytest.mark.parametrize(
    ("projector", "published"),
    [
        (
            VIDRegressor((3, 4, 4), (6, 4, 4)),
            [
                nn.Conv2d(3, 6, 1, bias=False),
                nn.ReLU(),
                nn.Conv2d(6, 6, 1, bias=False),
                nn.ReLU(),
                nn.Conv2d(6, 6, 1, bias=False),
            ],
        ),
        (
            SimKDProjector((4, 8, 8), (6, 4, 4)),
            [
                nn.AvgPool2d(2),
                *[nn.Conv2d(4, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU()],
                *[nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU()],
                *[nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()],
            ],
        ),
    ],
    ids=["vid", "simkd"],
)
def test_the_published_layers(projector: nn.Module, published: list[nn.Module]) -> None:
    """Given the weights of the published layers, the same values."""
    reference = nn.Sequential(*published).double()
    values = reference.state_dict().values()
    assert [v.shape for v in projector.state_dict().values()] == [v.shape for v in values]
    projector.double().load_state_dict(dict(zip(projector.state_dict(), values, strict=True)))
    feature = torch.randn(3, next(reference.parameters()).shape[1], 8, 8, dtype=torch.float64)
    feature = feature[:, :, :4, :4] if isinstance(projector, VIDRegressor) else feature
    torch.testing.assert_close(projector(feature), reference(feature))


@pytest.mark.parametrize("make", [VIDRegressor, ChannelConnector, SimKDProjector, SRRLConnector])
def test_refuses_tokens(make: Make) -> None:
    with pytest.raises(UserError, match=rf"^projector={make.__name__}: takes .*; name other layers"):
        make((9, 3), (9, 3))
