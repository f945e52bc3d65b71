"""Methods of several teachers, and of one made several, on real images, on two ranks, and where they were cut."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning import DistillationModule, Term, projectors
from kd_lightning.losses import CAMKD, CrossEntropy, SoftTarget
from kd_lightning.sources import Ensemble, FrozenNetwork
from kd_lightning.sources.ensemble import OF_TERMS
from tests.conftest import Command
from tests.experiment.test_methods import falls, totals

METHODS = {
    **dict.fromkeys(("ca_mkd", "ebkd", "aekd"), "teacher.models=[resnet8,{model: resnet14, weights: null}]"),
    "tekap": "teacher.model=resnet14",
}
IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(12) % 5
TAPS = {"final": "0", "classifier_weight": "3:weight", "classifier_bias": "3:bias"}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_fifty_steps_on_ten_classes_of_cifar100(method: str, command: Command, cifar100: Path) -> None:
    data = ("data=cifar100", "data._target_=benchmarks.ten_classes.TenClasses", "data.val_fraction=0.02")
    outcome = command(
        *("kd-train", f"method={method}", METHODS[method], "teacher.weights=null", *data, f"data.root={cifar100}"),
        *("data.download=false", "data.batch_size=32", "student.model=resnet8", "trainer.max_steps=50"),
        *("trainer.log_every_n_steps=1", "scratch=false", "test=false", "callbacks.progress_bar=null"),
        "trainer.limit_test_batches=1",
    )
    assert outcome.code == 0, outcome.errors
    values = totals(outcome.run / "metrics.csv")
    assert len(values) == 50
    assert falls(values), values


def network(seed: int, width: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)]
    return nn.Sequential(*layers)


def gradients(combine: str, rows: slice) -> list[torch.Tensor]:
    """Of the student and the projectors for some of the samples."""
    terms = {
        "ce": Term(CrossEntropy(), ["student.logits", "target"]),
        "kd": Term(SoftTarget(), ["student.logits", "teacher.logits"]),
        "ca_mkd": Term(
            CAMKD(),
            ["student.final", *(f"teacher.{tap}" for tap in TAPS), "target"],
            projector=projectors.Regressor,
        ),
    }
    teacher = Ensemble([FrozenNetwork(network(seed, 4 * seed), TAPS) for seed in (1, 2)], combine)
    student = network(0, 4)
    torch.manual_seed(5)
    module = DistillationModule(student, teacher, terms, student_taps={"final": "0"}, example_input=IMAGES).train()
    for part in module.objective.modules():
        if isinstance(part, nn.BatchNorm2d):  # whose statistics are those of a rank
            part.eval()
    trained = [*module.student.parameters(), *module.objective.parameters()]
    value = module.objective(module.signals({"input": IMAGES[rows], "target": TARGET[rows]})).total
    return list(torch.autograd.grad(value, trained))


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {combine: gradients(combine, slice(0, 7) if rank == 0 else slice(7, 12)) for combine in OF_TERMS}
    for one in (gradient for each in found.values() for gradient in each):
        torch.distributed.all_reduce(one.div_(2))
    torch.save(found, f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_weigh_samples_as_one_process_does(tmp_path: Path) -> None:
    """Batches each by themselves, by the gradients of the rank's samples; equal on both they are all the same."""
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    one, other = torch.load(tmp_path / "0"), torch.load(tmp_path / "1")
    for combine in OF_TERMS:
        assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(one[combine], other[combine], strict=True))
        if combine != "gradient":
            torch.testing.assert_close(one[combine], gradients(combine, slice(None)))
