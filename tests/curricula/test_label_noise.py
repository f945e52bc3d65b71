"""A toy of which the answer is known: of two Gaussians with wrong labels, what a teacher finds easy teaches best."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule
from kd_lightning.curricula import EasyFirst, HardFirst, Paced, RandomOrder, SampleOrder, Step, TeacherLoss
from kd_lightning.data.labels.noise import mislabelled
from tests.curricula.test_following import fit

DIMENSIONS, SAMPLES, NOISE = 40, 300, 0.3
DISTANCE = 2.0  # of each mean from the boundary, in standard deviations: 97.7 % can be right


def gaussians(count: int, seed: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    target = torch.arange(count) % 2
    inputs = torch.randn(count, DIMENSIONS, generator=chance)
    inputs[:, 0] += DISTANCE * (2 * target - 1)
    return inputs, target


def optimal() -> nn.Linear:
    """The teacher: Bayes' rule for the two."""
    teacher = nn.Linear(DIMENSIONS, 2)
    with torch.no_grad():
        teacher.weight.zero_()[:, 0] = torch.tensor([-DISTANCE, DISTANCE])
        teacher.bias.zero_()
    return teacher


def accuracy(order: SampleOrder, seed: int) -> float:
    """Of a linear student with few wrong-labelled samples, of which the first 60 % of the order are in use."""
    inputs, target = gaussians(SAMPLES, seed)
    noisy = mislabelled(target, torch.arange(SAMPLES), NOISE, 2, seed)
    torch.manual_seed(seed)
    student = nn.Linear(DIMENSIONS, 2)
    paced = Paced(TeacherLoss(), order, Step(start=0.6, full_at=1.0))
    module = DistillationModule(student, optimal(), num_classes=2, curriculum=paced)
    fit(module, DataLoader(TensorDataset(inputs, noisy), 50, shuffle=True), max_epochs=10)
    inputs, target = gaussians(2000, seed + 100)
    with torch.no_grad():
        return float((student(inputs).argmax(dim=1) == target).float().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_the_easy_samples_are_those_whose_labels_are_right(seed: int) -> None:
    easy, chance, hard = (accuracy(order, seed) for order in (EasyFirst(), RandomOrder(seed=seed), HardFirst()))
    assert easy > 0.93
    assert chance < easy - 0.05  # what it could learn from as many samples whose labels are right is lost
    assert hard < chance - 0.05
