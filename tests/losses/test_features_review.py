"""Knowledge review: the fusion by its formula, and shapes that come from the features."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses import ReviewKD, functional

Shape = tuple[int, ...]
PAIRS: dict[str, tuple[list[Shape], list[Shape]]] = {
    "a CIFAR ResNet": ([(4, 8, 8), (6, 4, 4), (8, 2, 2), (8,)], [(5, 8, 8), (7, 4, 4), (9, 2, 2), (9,)]),
    "the student smaller": ([(4, 4, 4), (6, 2, 2), (6,)], [(5, 8, 8), (7, 4, 4), (7,)]),
    "the student larger": ([(4, 9, 9), (6, 5, 5)], [(5, 6, 6), (7, 3, 3)]),
    "two stages of one size, not square": ([(4, 8, 4), (6, 8, 4), (7, 3, 2)], [(5, 8, 4), (5, 4, 4), (7, 4, 2)]),
    "pooled alone": ([(6,)], [(9,)]),
    "one channel": ([(1, 3, 3), (1,)], [(1, 3, 3), (1,)]),
}
every_pair = pytest.mark.parametrize("shapes", PAIRS.values(), ids=PAIRS)


def features(shapes: list[Shape], batch: int = 3) -> list[Tensor]:
    return [torch.randn(batch, *shape) for shape in shapes]


def built(student: list[Tensor], teacher: list[Tensor]) -> ReviewKD:
    loss = ReviewKD()
    loss.build(student, teacher)
    return loss


@every_pair
@pytest.mark.parametrize("batch", [1, 3])
def test_takes_its_shapes_from_the_features(shapes: tuple[list[Shape], list[Shape]], batch: int) -> None:
    """Public code writes them by hand. A batch of one passes too, in training."""
    student, teacher = features(shapes[0], batch), features(shapes[1], batch)
    loss = built(features(shapes[0]), features(shapes[1]))
    for feature in student:
        feature.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    for feature in student:
        assert feature.grad is not None
        assert feature.grad.isfinite().all()
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name


def test_the_fusion_is_its_formula() -> None:
    """Two levels in evaluation, from the weights alone."""
    student, teacher = features([(4, 4, 4), (6,)]), features([(5, 8, 8), (7,)])
    loss = built(student, teacher).eval().double()
    student, teacher = [feature.double() for feature in student], [feature.double() for feature in teacher]
    shallow, deep = (dict(fusion.named_parameters()) for fusion in loss.fusions)
    with torch.no_grad():
        for normalization in (m for m in loss.modules() if isinstance(m, nn.BatchNorm2d)):
            normalization.eps = 0.0  # as running statistics are 0 and 1, normalisation changes nothing then
    low = F.conv2d(student[1][:, :, None, None], deep["reduce.0.weight"])
    high = F.conv2d(student[0], shallow["reduce.0.weight"])
    low_output = F.conv2d(low, deep["expand.0.weight"], padding=1)
    spread = low.expand(-1, -1, 4, 4)
    logits = F.conv2d(torch.cat([high, spread], 1), shallow["attend.0.weight"], shallow["attend.0.bias"])
    first, second = (1 / (1 + torch.exp(-logits))).unbind(dim=1)
    fused = first[:, None] * high + second[:, None] * spread
    enlarged = fused.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    high_output = F.conv2d(enlarged, shallow["expand.0.weight"], padding=1)
    expected = functional.hcl([high_output, low_output], [teacher[0], teacher[1][:, :, None, None]])
    torch.testing.assert_close(loss(student, teacher), expected)


@pytest.mark.parametrize(("max_width", "width"), [(512, 8), (3, 3)])
def test_the_fusion_is_as_wide_as_the_deepest_layer_and_no_wider_than_its_limit(max_width: int, width: int) -> None:
    loss = ReviewKD(max_width)
    loss.build(features([(4, 4, 4), (8, 2, 2)]), features([(4, 4, 4), (9, 2, 2)]))
    assert {fusion.reduce[0].out_channels for fusion in loss.fusions} == {width}
