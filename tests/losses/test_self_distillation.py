"""Soft labels without a teacher: a table of own answers over steps and ranks, and defects of public code."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lightning import Term
from kd_lightning.errors import UserError
from kd_lightning.losses import PSKD, USKD, SoftTarget, VirtualTeacher, functional
from kd_lightning.objective import Objective
from kd_lightning.schedules import Progress, Warmup
from tests.losses.oracles import self_distillation as oracle
from tests.losses.oracles.logits import softmax

CLASSES = 5
TRAINING = torch.tensor([7, 3, 12, 4, 30, 9])  # the index of all training samples: not sorted, with gaps
TARGET = torch.tensor([0, 4, 2, 2, 1, 3])
SIGNALS = ["student.logits", "target", "index", "train.index"]
INPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def objective() -> Objective:
    made = Objective({"ps_kd": Term(PSKD(Warmup(value=0.8)), SIGNALS)})
    made.connect({"student": ["logits"]}, ["index"])
    made.build(signals(torch.zeros(6, CLASSES), range(6)))
    return made


def signals(logits: Tensor, places: Any) -> dict[str, Tensor]:
    chosen = list(places)
    return {
        "student.logits": logits,
        "target": TARGET[chosen],
        "index": TRAINING[chosen],
        "train.index": TRAINING,
    }


def table(made: Objective) -> PSKD:
    ((_, term),) = made.items()
    assert isinstance(term.loss, PSKD)
    return term.loss


def epoch_of(order: list[int], size: int = 2) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def test_each_epoch_learns_from_the_answers_of_the_one_before() -> None:
    """Against a dictionary by index, over three epochs of a network that learns."""
    torch.manual_seed(0)
    network = nn.Linear(4, CLASSES, dtype=torch.float64)
    made = objective().double()
    kept: dict[int, np.ndarray[Any, Any]] = {}
    for epoch in range(3):
        share, answered = 0.8 * (epoch + 1) / 4, {}
        for step, places in enumerate(epoch_of(torch.randperm(6).tolist())):
            logits = network(INPUTS[places])
            value = made(signals(logits, places), Progress(epoch=epoch + step / 3, epochs=4))
            expected = 0.0
            for z, place in zip(logits.detach().numpy(), places, strict=True):
                label = np.eye(CLASSES)[TARGET[place]]
                index = int(TRAINING[place])
                soft = (1 - share) * label + share * kept[index] if epoch else label
                expected -= (soft * np.log(softmax(z))).sum() / len(places)
                answered[index] = softmax(z)
            assert value.total.item() == pytest.approx(expected, rel=1e-6)  # the table is in float32
            network.zero_grad()
            value.total.backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.5 * parameter.grad  # type: ignore[operator]
        kept = answered
    rows = [np.float32(kept[int(index)]) for index in table(made).index]
    np.testing.assert_allclose(table(made).answers.numpy(), rows, rtol=1e-6)


def test_it_rests_without_training_and_knows_only_what_trains() -> None:
    made = objective()
    logits = torch.randn(2, CLASSES, requires_grad=True)
    made.eval()
    made(signals(logits, [0, 1]))
    made.train()
    with torch.no_grad():
        made(signals(logits, [0, 1]))
    stranger = {**signals(logits, [0, 1]), "index": torch.tensor([5, 31])}
    value = made(stranger).total
    assert not table(made).answers.any()
    torch.testing.assert_close(value, nn.functional.cross_entropy(logits, TARGET[:2]))


def test_of_a_sample_that_comes_twice_the_last_answer_counts() -> None:
    made = objective()
    logits = torch.randn(3, CLASSES, requires_grad=True)
    made(signals(logits, [2, 0, 2]))
    own = table(made)
    answers = {int(index): row for index, row in zip(own.index, own.answers, strict=True)}
    torch.testing.assert_close(answers[int(TRAINING[2])], logits[2].detach().softmax(dim=0))
    torch.testing.assert_close(answers[int(TRAINING[0])], logits[1].detach().softmax(dim=0))
    assert sum(bool(row.any()) for row in own.answers) == 2


def test_the_table_stands_in_the_state() -> None:
    made, other = objective(), objective()
    made(signals(torch.randn(2, CLASSES, requires_grad=True), [0, 1]))
    assert made.state_dict()["terms.ps_kd.loss.answers"].any()
    other.load_state_dict(made.state_dict())
    assert torch.equal(table(other).answers, table(made).answers)


def trained(process: int = 0, processes: int = 1) -> Tensor:
    """The table after two epochs, of one of so many processes that share each step's samples."""
    torch.manual_seed(0)
    made = objective()
    begun = {name: value.clone() for name, value in made.synchronized_buffers().items()}
    assert {name.rpartition(".")[2] for name in begun} == {"index", "answers"}
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        for places in epoch_of(torch.randperm(6, generator=generator).tolist(), size=3):
            logits = torch.randn(3, CLASSES, generator=generator)
            own = slice(process, None, processes)  # 2 and 1 of 3
            made(signals(logits[own].requires_grad_(), places[own])).total.backward()
    return table(made).answers


def one_of_two(process: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=process, world_size=2)
    torch.save(trained(process, processes=2), f"{folder}/{process}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_remember_what_one_would(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    assert torch.equal(torch.load(tmp_path / "0"), torch.load(tmp_path / "1"))
    torch.testing.assert_close(torch.load(tmp_path / "0"), trained())


def test_a_hand_made_teacher_is_divided_by_the_batch_and_not_by_the_classes_too() -> None:
    """As `KLDivLoss()` does; α and a multiplier m of the authors' code are a weight of α·m/C here."""
    logits, target = torch.randn(8, 100, dtype=torch.float64), torch.arange(8)
    alpha, multiplier, temperature = 0.1, 100.0, 20.0
    u = torch.full((8, 100), 0.01 / 99, dtype=torch.float64)
    u[range(8), target] = 0.99
    with pytest.warns(UserWarning, match="reduction: 'mean' divides"):
        public = nn.KLDivLoss()(logits.log_softmax(dim=1), (u / temperature).softmax(dim=1)) * multiplier
    own = VirtualTeacher(correct=0.99, temperature=temperature)(logits, target)
    torch.testing.assert_close(alpha * public, alpha * multiplier / 100 * own)
    assert own > 50 * public / multiplier


def test_an_earlier_self_is_divided_by_the_batch_and_not_by_the_classes_too() -> None:
    student, teacher = torch.randn(2, 8, 100, dtype=torch.float64)
    with pytest.warns(UserWarning, match="reduction: 'mean' divides"):
        public = nn.KLDivLoss()((student / 6).log_softmax(dim=1), (teacher / 6).softmax(dim=1)) * 36 * 50.0
    torch.testing.assert_close(0.95 * public, 0.475 * SoftTarget(temperature=6.0)(student, teacher))


@pytest.mark.parametrize("weights", [(1.0, 0.1, 0.005), (0.0, 2.0, 0.0), (0.3, 0.0, 1.0)])
def test_uskd_is_its_formula_and_its_labels_have_no_gradient(weights: tuple[float, float, float]) -> None:
    alpha, beta, mu = weights
    generator = np.random.default_rng(5)
    logits, weak, target = generator.normal(0, 2, (6, 7)), generator.normal(0, 2, (6, 7)), generator.integers(0, 7, 6)
    given = [torch.from_numpy(one).requires_grad_() for one in (logits, weak)]
    value = functional.uskd(*given, torch.from_numpy(target), *weights)
    assert value.item() == pytest.approx(oracle.uskd(logits, weak, target, *weights), rel=1e-9)
    smoothed, zipf = oracle.uskd_labels(logits, weak, target)
    expected, of_weak = np.zeros_like(logits), np.zeros_like(weak)
    for i, y in enumerate(target):
        label, rest = np.eye(7)[y], [c for c in range(7) if c != y]
        expected[i] += alpha * smoothed[i] * (softmax(logits[i]) - label) / 6
        expected[i, rest] += beta * (softmax(logits[i, rest]) - zipf[i, rest]) / 6
        of_weak[i] = mu * (softmax(weak[i]) - 0.9 * label - 0.1 / 7) / 6
    gradients = torch.autograd.grad(value, given)
    for gradient, closed in zip(gradients, (expected, of_weak), strict=True):
        np.testing.assert_allclose(gradient.numpy(), closed, rtol=1e-9, atol=1e-12)


def test_uskd_ranks_by_log_probabilities_as_the_authors_do() -> None:
    """Where the student is sure, its probabilities of other classes would leave the rank to the weak classifier."""
    logits, weak = torch.tensor([[9.0, 2.0, -3.0, 0.0]]), torch.tensor([[2.0, 0.0, 0.9, 0.0]])
    _, zipf = oracle.uskd_labels(logits.double().numpy(), weak.double().numpy(), np.array([0]))
    assert [*np.argsort(-zipf[0])] == [1, 3, 2, 0]
    by_probabilities = weak.softmax(1) / (1 - weak.softmax(1)[0, 0]) + logits.softmax(1) / (1 - logits.softmax(1)[0, 0])
    assert int(by_probabilities[0, 1:].argmin()) != 1
    value = functional.uskd(logits, weak, torch.tensor([0]), 0.0, 1.0, 0.0)
    rest = logits[:, 1:].log_softmax(dim=1)[0].double().numpy()
    assert value.item() == pytest.approx(-(zipf[0, 1:] * rest).sum(), rel=1e-5)


def test_uskd_leaves_samples_without_a_label_out() -> None:
    logits, weak = torch.randn(2, 4, CLASSES, dtype=torch.float64)
    target = torch.tensor([1, -1, 3, -100])
    torch.testing.assert_close(
        functional.uskd(logits, weak, target), functional.uskd(logits[::2], weak[::2], target[::2])
    )
    assert functional.uskd(logits, weak, torch.full((4,), -1)) == 0


@pytest.mark.parametrize(
    "shapes", [[(3, 4, 8, 8), (3, 6, 4, 4)], [(3, 4, 8, 8)], [(3, 9, 4), (3, 9, 6)], [(3, 4), (3, 6)]]
)
def test_the_weak_classifier_is_on_the_second_to_last_stage(shapes: list[tuple[int, ...]]) -> None:
    loss, logits, target = USKD(), torch.randn(3, CLASSES), torch.tensor([0, 1, 2])
    stages = [torch.rand(shape, requires_grad=True) for shape in shapes]
    loss.build(logits, stages, target)
    assert loss.classifier.in_features == (shapes[0][2] if len(shapes[0]) == 3 else shapes[0][1])
    loss(logits, stages, target).backward()
    assert stages[0].grad is not None
    assert all(stage.grad is None for stage in stages[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PSKD(1.0), r"^share=1\.0: must be at least 0 and below 1"),
        (lambda: VirtualTeacher(correct=0.0), r"^correct=0\.0: must be above 0 and at most 1"),
        (lambda: VirtualTeacher(temperature=0.0), r"^temperature=0\.0: must be a finite number above 0"),
        (lambda: USKD(beta=-1.0), r"^beta=-1\.0: must be a finite number of at least 0"),
        (lambda: PSKD().build(torch.zeros(2, 3), TARGET, TARGET, None), r"^train\.index=\[\]: a table of answers"),
        (lambda: PSKD()(torch.zeros(6, 3), TARGET % 3, TARGET[:2]), r"^index=\(2,\): this loss remembers one answer"),
        (lambda: USKD()(torch.zeros(2, 3), [], torch.full((2, 3), 1 / 3)), r"^target=\(2, 3\): this loss needs one"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_extreme_logits_have_finite_values() -> None:
    logits, target = torch.full((2, CLASSES), -1e4), torch.tensor([0, 1])
    logits[:, 0] = 1e4
    logits.requires_grad_()
    past = torch.full((2, CLASSES), 1 / CLASSES)
    for value in (
        functional.ps_kd(logits, target, past),
        functional.virtual_teacher(logits, target),
        functional.uskd(logits, logits, target),
    ):
        (gradient,) = torch.autograd.grad(value, logits)
        assert math.isfinite(value.item())
        assert gradient.isfinite().all()
