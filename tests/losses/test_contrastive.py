"""CRD: its value, its negatives, its memory banks over steps, checkpoints and processes."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.losses import CRD, functional
from kd_lightning.losses.relations import contrastive, memory_bank, training_images
from kd_lightning.losses.relations.memory_bank import MemoryBank
from kd_lightning.losses.relations.training_images import TrainingImages
from tests.losses.oracles.contrastive import contrastive_nce

INDEX = torch.tensor([12, 3, 40, 7, 21, 9, 30, 16, 2, 55])  # not sorted, with gaps: a part of a data set trains
TARGET = torch.tensor([0, 1, 2, 0, 1, 5, 0, 5, 2, 5])
BATCH = [3, 0, 5, 8]  # places in these two


def built(width: int = 4, negatives: int = 6, **options: float) -> CRD:
    torch.manual_seed(1)
    loss = CRD(width, negatives, **options)
    loss.build(torch.randn(2, 3), torch.randn(2, 5), INDEX[:2], TARGET[:2], INDEX, TARGET)
    return loss


def batch(places: list[int] = BATCH, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.randn(len(places), 3, generator=generator),
        torch.randn(len(places), 5, generator=generator),
    )
    return [student, teacher, INDEX[places], TARGET[places], INDEX, TARGET]


def doubled(signals: list[Tensor]) -> list[Tensor]:
    """With features in float64, in which the order of a sum does not show."""
    return [signal.double() if signal.is_floating_point() else signal for signal in signals]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def state(loss: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(loss.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_steps_are_what_numpy_says() -> None:
    """Value, normalisers and banks; the second step takes the first one's rows and normalisers."""
    loss, expected = built().double(), built().double()
    row = {image: row for row, image in enumerate(sorted(INDEX.tolist()))}
    banks = [bank.embeddings.numpy().copy() for bank in (expected.student_bank, expected.teacher_bank)]
    constants: list[float] = []
    for step in range(2):
        student, teacher, index, target, *train = doubled(batch(seed=step))
        rows = [row[image] for image in index.tolist()]
        drawn = loss.images.negatives(index, target, 6, loss.key).tolist()
        with torch.no_grad():
            e_s = unit(expected.embed_student(student).numpy())
            e_t = unit(expected.embed_teacher(teacher).numpy())
        scores = [
            np.array([[math.exp(e[i] @ bank[r] / 0.07) for r in (rows[i], *drawn[i])] for i in range(len(rows))])
            for e, bank in ((e_s, banks[1]), (e_t, banks[0]))
        ]
        constants = constants or [one.mean() * 10 for one in scores]
        value = sum(contrastive_nce(one / z, 10) for one, z in zip(scores, constants, strict=True))
        assert loss(student, teacher, index, target, *train).item() == pytest.approx(value, rel=1e-9)
        for bank, e in zip(banks, (e_s, e_t), strict=True):
            bank[rows] = unit(0.5 * bank[rows] + 0.5 * e)
    assert loss.teacher_bank.normalizer.item() == pytest.approx(constants[0], rel=1e-9)
    assert loss.student_bank.normalizer.item() == pytest.approx(constants[1], rel=1e-9)
    torch.testing.assert_close(loss.student_bank.embeddings, torch.from_numpy(banks[0]))
    torch.testing.assert_close(loss.teacher_bank.embeddings, torch.from_numpy(banks[1]))


def test_the_gradient_is_of_the_banks_as_they_stood() -> None:
    """The rows move in place before backward; the gradient is that of the old rows."""
    loss = built().double()
    arguments = doubled(batch())
    for feature in arguments[:2]:
        feature.requires_grad_()
    loss(*arguments)  # settles the normalisers
    before = state(loss)
    inputs = [*arguments[:2], *loss.parameters()]
    gradients = torch.autograd.grad(loss(*arguments), inputs)
    assert not same(state(loss), before)
    loss.load_state_dict(before)
    loss.eval()
    expected = torch.autograd.grad(loss(*arguments), inputs)
    torch.testing.assert_close(gradients, expected)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert torch.autograd.gradcheck(lambda s, t: loss(s, t, *arguments[2:]), arguments[:2])


def test_banks_rest_without_training() -> None:
    loss = built()
    before = state(loss)
    with torch.no_grad():
        loss(*batch())
    loss.eval()
    loss(*batch())
    assert same(state(loss), before)


def test_banks_are_spread_like_unit_vectors_and_stay_on_the_sphere() -> None:
    rows = MemoryBank(2000, 128).embeddings
    assert rows.abs().max().item() == pytest.approx(1 / math.sqrt(128 / 3), rel=1e-3)
    assert rows.square().sum(dim=1).mean().item() == pytest.approx(1, rel=1e-2)
    loss = built()
    loss(*batch())
    places = loss.images.rows(INDEX[BATCH])
    torch.testing.assert_close(loss.teacher_bank.embeddings[places].norm(dim=1), torch.ones(4))


def test_negatives_are_uniform_over_the_other_classes() -> None:
    images = TrainingImages(INDEX, TARGET)
    label = dict(zip(INDEX.tolist(), TARGET.tolist(), strict=True))
    count = 20_000
    drawn = images.negatives(INDEX, TARGET, count, torch.tensor(3))
    for own, rows in zip(TARGET.tolist(), drawn, strict=True):
        others = [r for r, image in enumerate(images.index.tolist()) if label[image] != own]
        frequency = torch.bincount(rows, minlength=len(images)).double()
        assert frequency.nonzero().flatten().tolist() == others
        expected = count / len(others)
        assert ((frequency[others] - expected).square() / expected).sum() < 40, "chi-square of at most 7 degrees"
    correlation = torch.corrcoef(drawn.double())
    assert (correlation - torch.eye(len(drawn))).abs().max() < 0.05, "images draw independently"


def test_each_step_draws_anew() -> None:
    loss, arguments = built(negatives=50), batch()
    first = loss.images.negatives(*arguments[2:4], 50, loss.key)
    loss(*arguments)
    second = loss.images.negatives(*arguments[2:4], 50, loss.key)
    assert (first == second).double().mean() < 0.4, "of 6 to 8 other images"


def test_more_negatives_than_images_and_two_classes() -> None:
    loss = CRD(embedding=3, negatives=100)
    index, target = torch.arange(3), torch.tensor([0, 1, 1])
    loss.build(torch.randn(2, 3), torch.randn(2, 3), index[:2], target[:2], index, target)
    assert loss.images.negatives(index, target, 100, loss.key)[1:].unique().tolist() == [0]
    for features in (torch.randn(1, 3), torch.zeros(1, 3), torch.full((1, 3), 1e4)):
        student = features.clone().requires_grad_()
        value = loss(student, features, index[:1], target[:1], index, target)
        value.backward()
        assert value.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()


def test_an_image_that_does_not_train_teaches_nothing() -> None:
    loss = built()
    student, teacher, index, target, *train = batch()
    index[1], index[2] = 4, 1000  # one between the training images, one behind them
    assert loss.images.rows(index).tolist()[1:3] == [-1, -1]
    student.requires_grad_()
    before = state(loss)
    loss(student, teacher, index, target, *train).backward()
    assert student.grad is not None
    assert student.grad.abs().sum(dim=1).bool().tolist() == [True, False, False, True]
    moved = (loss.student_bank.embeddings != before["student_bank.embeddings"]).any(dim=1).nonzero().flatten()
    assert moved.tolist() == sorted(loss.images.rows(index[[0, 3]]).tolist())


def test_of_an_image_that_comes_twice_the_last_one_counts() -> None:
    bank, rows = MemoryBank(5, 3), torch.tensor([2, 0, 2, -1])
    before, queries = bank.embeddings.clone(), nn.functional.normalize(torch.randn(4, 3), dim=1)
    bank.update(rows, queries, 0.5)
    expected = before.clone()
    expected[[0, 2]] = nn.functional.normalize(before[[0, 2]] + queries[[1, 2]], dim=1)
    torch.testing.assert_close(bank.embeddings, expected)


def test_a_checkpoint_takes_up_the_training(tmp_path: Path) -> None:
    def train(loss: CRD, steps: range) -> dict[str, Tensor]:
        optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
        for step in steps:
            optimizer.zero_grad()
            loss(*batch(seed=step)).backward()
            optimizer.step()
        return state(loss)

    uninterrupted = train(built(), range(4))
    torch.save(train(built(), range(2)), tmp_path / "checkpoint")
    torch.manual_seed(99)
    fresh = CRD(4, 6)
    fresh.build(*batch()[:4], INDEX, TARGET)
    fresh.load_state_dict(torch.load(tmp_path / "checkpoint", weights_only=True))
    assert {"student_bank.embeddings", "teacher_bank.normalizer", "key"} <= fresh.state_dict().keys()
    assert same(train(fresh, range(2, 4)), uninterrupted)


def one_of_two(process: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=process, world_size=2)
    loss = built().double()
    for places in ([3, 0, 5, 8], [1, 3, 3, 9]):
        mine = [signal[process * 2 : process * 2 + 2] for signal in doubled(batch(places))[:4]]
        loss(*mine, INDEX, TARGET).backward()
    torch.save(loss.state_dict(), f"{folder}/{process}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_remember_what_one_would(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / str(process)) for process in range(2))
    assert same(first, second)
    alone = built().double()
    for places in ([3, 0, 5, 8], [1, 3, 3, 9]):
        alone(*doubled(batch(places)))
    torch.testing.assert_close(first, state(alone))


def test_the_parts_are_built_for_the_signals() -> None:
    loss = CRD(embedding=4, negatives=6)
    assert list(loss.state_dict()) == []
    loss.build(torch.randn(2, 3, 2, 2), torch.randn(2, 5), INDEX[:2], TARGET[:2], INDEX, TARGET)
    assert [tuple(p.shape) for p in loss.parameters()] == [(4, 12), (4,), (4, 5), (4,)]
    loss(torch.randn(2, 3, 2, 2), torch.randn(2, 5), INDEX[:2], TARGET[:2], INDEX, TARGET).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())
    assert isinstance(loss.student_bank.embeddings, Tensor)
    assert "student_bank.embeddings" in dict(loss.named_buffers())


def test_nothing_names_a_device() -> None:
    """All of it lies where its inputs lie; on the meta device, which has no numbers, a whole step can be laid out."""
    for module in (contrastive, memory_bank, training_images):
        assert "cuda" not in Path(module.__file__).read_text()
    with torch.device("meta"):
        loss = CRD(embedding=4, negatives=6)
        signals = [*torch.empty(2, 2, 3), *torch.zeros(2, 2, dtype=torch.long), *torch.zeros(2, 9, dtype=torch.long)]
        loss.build(*signals)
        loss(*signals).backward()
    assert all(p.grad is not None for p in loss.parameters())


def test_scores_that_tell_nothing_cost_what_chance_does() -> None:
    scores = torch.full((3, 5), 4 / 10)  # K/N: the noise is as likely as the pair
    assert functional.contrastive_nce(scores, 10).item() == pytest.approx(5 * math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": 0}, "embedding=0: must be"),
        ({"negatives": 0}, "negatives=0: must be"),
        ({"temperature": 0.0}, "temperature=0.0: must be"),
        ({"momentum": 1.0}, "momentum=1.0: must be"),
    ],
)
def test_bad_arguments(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}.*$"):
        CRD(**options)


@pytest.mark.parametrize(
    ("index", "target", "message"),
    [
        (None, None, r"train.index=\[\]: "),
        (INDEX[:0], TARGET[:0], r"train.index=\[\]: "),
        (INDEX, TARGET[:3], r"train.target=\[3\]: "),
        (INDEX, TARGET * 0, "train.target=0: "),
    ],
)
def test_training_images_that_give_no_negatives(index: Tensor | None, target: Tensor | None, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}.*; .*$"):
        CRD().build(*batch()[:4], index, target)
