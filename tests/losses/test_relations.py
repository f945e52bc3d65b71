"""Losses on relations at the edges: one example, equal examples, zeros, extreme values, memory; the modules."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import (
    PKT,
    RKD,
    CorrelationCongruenceAdjacent,
    CorrelationCongruenceKernel,
    SimilarityPreserving,
    functional,
)
from kd_lightning.losses.functional.relations import similarities

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, Loss] = {
    "similarity_preserving": functional.similarity_preserving,
    "correlation_congruence_adjacent": functional.correlation_congruence_adjacent,
    "correlation_congruence_kernel": functional.correlation_congruence_kernel,
    "pkt": functional.pkt,
    "rkd": functional.rkd,
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
# The relations of these do not change with the features' scale, nor with a rotation.
every_relation = pytest.mark.parametrize(
    "loss", [loss for name, loss in LOSSES.items() if "adjacent" not in name], ids=[n for n in LOSSES if "adj" not in n]
)


def value_and_gradient(loss: Loss, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.isfinite()
    assert gradient.isfinite().all()
    return value, gradient


EXTREME = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0.0, -1e4, -1e4]])
EDGES = {
    "extreme": EXTREME,
    "opposite": EXTREME[[0, 1, 0, 1]] * torch.tensor([1.0, -1.0, -1.0, 1.0])[:, None],
    "zeros": torch.zeros(4, 3),
    "constant": torch.full((4, 3), 0.7),
    "one zero": torch.cat([torch.zeros(1, 3), EXTREME[1:] / 1e4]),
    "equal pair": EXTREME[[0, 0, 1, 2]],
    "one class against one": torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0]]),
}


@every_loss
@pytest.mark.parametrize("student", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("teacher", EDGES.values(), ids=EDGES)
def test_finite_at_the_edges(loss: Loss, student: Tensor, teacher: Tensor) -> None:
    _, gradient = value_and_gradient(loss, student, teacher)
    assert gradient.abs().max() < 1e6, "a vector of zeros must not throw the student away"


@every_loss
@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_of_one_or_two(loss: Loss, batch: int) -> None:
    value, gradient = value_and_gradient(loss, torch.randn(batch, 5), torch.randn(batch, 5))
    if batch == 1:
        assert value.abs() < 1e-12, "one example has no relations"
        assert gradient.abs().max() < 1e-6


@every_loss
@pytest.mark.parametrize("features", [torch.randn(7, 6), *EDGES.values()], ids=["usual", *EDGES])
def test_nothing_to_learn_from_an_equal_teacher(loss: Loss, features: Tensor) -> None:
    value, gradient = value_and_gradient(loss, features, features)
    assert value.item() == 0.0
    assert gradient.abs().max() < 1e-6


@every_relation
def test_widths_rotation_and_scale_do_not_matter(loss: Loss) -> None:
    student, teacher = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 9, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64)).Q
    assert loss(student * 7, teacher @ rotation / 3).item() == pytest.approx(loss(student, teacher).item(), rel=1e-5)


@every_relation
def test_maps_are_flattened(loss: Loss) -> None:
    student, teacher = torch.randn(4, 3, 2, 2), torch.randn(4, 5, 1, 1)
    assert torch.equal(loss(student, teacher), loss(student.flatten(1), teacher.flatten(1)))


@every_loss
def test_double_precision_stays(loss: Loss) -> None:
    assert loss(torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)).dtype == torch.float64


def test_the_two_correlation_congruences_are_different_losses() -> None:
    """The adjacent form depends on the order of the batch, the kernel does not."""
    (student, teacher), order = torch.randn(2, 6, 4, dtype=torch.float64), torch.randperm(6)
    for loss, same in [
        (functional.correlation_congruence_kernel, True),
        (functional.correlation_congruence_adjacent, False),
    ]:
        assert torch.allclose(loss(student[order], teacher[order]), loss(student, teacher)) == same


def test_the_kernel_is_a_gaussian_in_the_limit() -> None:
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    gaussian = [torch.exp(-0.4 * torch.cdist(u := nn.functional.normalize(e), u) ** 2) for e in (student, teacher)]
    expected = (gaussian[0] - gaussian[1]).square().mean().item()
    assert functional.correlation_congruence_kernel(student, teacher, 0.4, 20).item() == pytest.approx(expected)


def test_rkd_does_not_depend_on_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    whole = value_and_gradient(functional.rkd, student, teacher)
    for elements in (1, 7 * 7 * 2, 7 * 7 * 3):  # 1, 2 and 3 pivots at a time
        monkeypatch.setattr(similarities, "SLICE_ELEMENTS", elements)
        assert all(
            torch.allclose(a, b, rtol=1e-12)
            for a, b in zip(value_and_gradient(functional.rkd, student, teacher), whole, strict=True)
        )


def test_rkd_keeps_little_for_backward() -> None:
    """O(B² + inputs): neither B³ angles nor B²·D differences wait for backward."""
    batch, width, kept = 48, 40, []
    student = torch.randn(batch, width, requires_grad=True)

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        functional.rkd(student, torch.randn(batch, width)).backward()
    assert sum(kept) < 20 * (batch**2 + batch * width) < batch**3 * 3


def test_rkd_is_exact_far_from_the_origin() -> None:
    """Distances come from differences: |a|² + |b|² - 2ab would lose them to rounding."""
    student, teacher = torch.randn(6, 8).double(), torch.randn(6, 8)
    exact = functional.rkd(student, teacher.double()).item()
    assert functional.rkd((student + 1000).float(), teacher).item() == pytest.approx(exact, rel=1e-3)


def test_equal_examples_do_not_pull() -> None:
    """Where two of the student's embeddings coincide, what the others say decides the gradient's size."""
    student = torch.randn(5, 4)
    student[1] = student[0]
    _, gradient = value_and_gradient(functional.rkd, student, torch.randn(5, 4))
    assert gradient.abs().max() < 100


ARGUMENTS = (torch.randn(4, 6), torch.randn(4, 8))


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (SimilarityPreserving(), functional.similarity_preserving),
        (PKT(), functional.pkt),
        (RKD(), functional.rkd),
        (RKD(1, 2), lambda s, t: functional.rkd(s, t, 1, 2)),
        (CorrelationCongruenceKernel(), functional.correlation_congruence_kernel),
        (CorrelationCongruenceKernel(2, 3), lambda s, t: functional.correlation_congruence_kernel(s, t, 2, 3)),
    ],
)
def test_modules_equal_the_functions(module: nn.Module, function: Loss) -> None:
    assert torch.equal(module(*ARGUMENTS), function(*ARGUMENTS))
    assert list(module.state_dict()) == []


def test_the_embeddings_of_neighbours_are_built_and_trained() -> None:
    loss = CorrelationCongruenceAdjacent(embedding=5)
    student, teacher = torch.randn(2, 3, 2, 2), torch.randn(2, 7)
    assert list(loss.parameters()) == []
    loss.build(student, teacher)
    assert [tuple(p.shape) for p in loss.parameters()] == [(5, 12), (5,), (5, 7), (5,)]
    loss(student, teacher).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())
    expected = functional.correlation_congruence_adjacent(
        loss.embed_student.linear(student.flatten(1)), loss.embed_teacher.linear(teacher)
    )
    assert torch.equal(loss(student, teacher), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorrelationCongruenceAdjacent(0), "embedding=0: must be"),
        (lambda: CorrelationCongruenceKernel(gamma=0), "gamma=0: must be"),
        (lambda: CorrelationCongruenceKernel(order=0), "order=0: must be"),
        (lambda: RKD(distance_weight=-1), "distance_weight=-1: must be"),
        (lambda: RKD(angle_weight=math.nan), "angle_weight=nan: must be"),
    ],
)
def test_bad_arguments(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}.*$"):
        make()


def test_the_family_asks_the_device_for_nothing() -> None:
    """On the meta device, which has no numbers, each value and gradient can be laid out."""
    for loss in LOSSES.values():
        student = torch.randn(6, 4, device="meta", requires_grad=True)
        loss(student, torch.randn(6, 4, device="meta")).backward()
        assert student.grad is not None
    assert ".cuda" not in Path(similarities.__file__).read_text()
