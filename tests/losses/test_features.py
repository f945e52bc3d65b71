"""Losses on maps at the edges: extreme, dead and constant features, one image, one channel, an equal teacher."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd_lightning.losses import functional

MARGIN = torch.tensor(-0.5)
LOG_SCALE = torch.tensor([1.0, -2.0, 0.0])
WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]])


def through_classifier(s: Tensor, t: Tensor) -> Tensor:
    s, t = s.mean(dim=(2, 3)), t.mean(dim=(2, 3))
    weight = WEIGHT[:, : s.shape[1]].to(s)
    return functional.srrl(s, t, s @ weight.T, t @ weight.T)


def cat_kd(s: Tensor, t: Tensor) -> Tensor:
    maps = [functional.class_activation_maps(f, WEIGHT[:, : f.shape[1]].to(f)) for f in (s, t)]
    return functional.cat_kd(maps[0], maps[1])


Loss = Callable[[Tensor, Tensor], Tensor]
DISTANCES: dict[str, Loss] = {
    "fitnet": functional.fitnet,
    "attention_transfer": lambda s, t: functional.attention_transfer([s], [t]),
    "nst": lambda s, t: functional.nst([s], [t]),
    "fsp": lambda s, t: functional.fsp([s, s[:, :, ::2]], [t, t[:, :, ::2]]),
    "hcl": lambda s, t: functional.hcl([s], [t]),
    "ofd_partial_l2": lambda s, t: functional.ofd_partial_l2(s, t, MARGIN.to(s).expand(1, s.shape[1], 1, 1)),
    "factor_transfer": functional.factor_transfer,
    "simkd": functional.simkd,
    "srrl": through_classifier,
    "cat_kd": cat_kd,
}
LOSSES: dict[str, Loss] = {
    **DISTANCES,
    "activation_boundary": lambda s, t: functional.activation_boundary([s], [t]),
    "variational_information": lambda s, t: functional.variational_information(s, t, LOG_SCALE[: s.shape[1]].to(s)),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
SIGNS = torch.randn(3, 3, 5, 4).sign()
FEATURES = {
    "extreme": 1e4 * SIGNS,
    "tiny": 1e-8 * SIGNS,
    "zero": torch.zeros(3, 3, 5, 4),
    "constant": torch.full((3, 3, 5, 4), 7.0),
    "a dead channel": SIGNS * torch.tensor([0.0, 1.0, 2.0])[:, None, None],
    "usual": torch.randn(3, 3, 5, 4),
}


@every_loss
@pytest.mark.parametrize("teacher", FEATURES)
@pytest.mark.parametrize("student", FEATURES)
def test_finite(name: str, student: str, teacher: str) -> None:
    feature = FEATURES[student].clone().requires_grad_()
    value = LOSSES[name](feature, FEATURES[teacher])
    (gradient,) = torch.autograd.grad(value, feature)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["attention_transfer", "nst", "factor_transfer", "cat_kd"])
def test_a_dead_student_is_not_thrown_off_by_the_normalization(name: str) -> None:
    """1 / max(norm, 1e-12) has a slope of 1e12 at zero, which one step of training does not survive."""
    student = torch.zeros(3, 3, 5, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(LOSSES[name](student, FEATURES["usual"]), student)
    assert not gradient.any()


@every_loss
@pytest.mark.parametrize("channels", [1, 3])
def test_the_batch_counts_by_its_mean(name: str, channels: int) -> None:
    """A batch of one is allowed, and a batch said twice costs what it costs once."""
    student, teacher = torch.randn(2, 4, channels, 4, 6, dtype=torch.float64)
    each = [LOSSES[name](s[None], t[None]).item() for s, t in zip(student, teacher, strict=True)]
    whole = LOSSES[name](student, teacher).item()
    assert whole == pytest.approx(sum(each) / len(each))
    assert LOSSES[name](student.repeat(2, 1, 1, 1), teacher.repeat(2, 1, 1, 1)).item() == pytest.approx(whole)


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_to_learn_from_an_equal_teacher(name: str) -> None:
    student = torch.randn(4, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    value = DISTANCES[name](student, student.detach().clone())
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    assert gradient.abs().max().item() < 1e-6


@pytest.mark.parametrize("name", ["attention_transfer", "nst", "factor_transfer"])
def test_maps_of_unit_norm_compare_where_not_how_much(name: str) -> None:
    student, teacher = torch.randn(3, 12, 6, 6, dtype=torch.float64).split([4, 8], dim=1)
    value = LOSSES[name](student, teacher)
    torch.testing.assert_close(LOSSES[name](7 * student, teacher / 5), value)
    torch.testing.assert_close(LOSSES[name](student.flip(1), teacher), value)


@pytest.mark.parametrize("loss", [functional.attention_transfer, functional.nst, functional.hcl])
def test_refuses_lists_of_unequal_length(loss: Callable[[list[Tensor], list[Tensor]], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        loss([torch.randn(1, 2, 3, 3)] * 2, [torch.randn(1, 2, 3, 3)])


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            self.numel = max(self.numel, value.numel() if isinstance(value, Tensor) else 0)
        return result


@pytest.mark.parametrize(("channels", "size"), [(16, 32), (64, 4)], ids=["few channels", "few positions"])
def test_nst_keeps_no_pair_of_maps(channels: int, size: int) -> None:
    """Broadcasting all pairs takes B·C²·H·W; here nothing is larger than the input or its smaller Gram matrix."""
    student, teacher = torch.randn(2, 4, channels, size, size).unbind()
    student.requires_grad_()
    with Largest() as seen:
        functional.nst([student], [teacher]).backward()
    assert seen.numel <= max(student.numel(), 4 * min(channels, size**2) ** 2)


def test_variational_information_may_be_negative() -> None:
    """A student that tells the teacher's feature within a small variance: a density above 1."""
    feature = torch.randn(2, 3, 4, 4)
    assert functional.variational_information(feature, feature, torch.full((3,), -4.0)) < -1
