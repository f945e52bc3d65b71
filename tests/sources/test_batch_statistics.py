"""A teacher that normalises by each batch's own statistics, as OFD's authors have it, and is not changed by that."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.losses import OFD
from kd_lightning.models import create_model
from kd_lightning.models.projectors import ChannelConnector
from kd_lightning.sources import CachedSource, FrozenNetwork
from kd_lightning.store import Answers, Whole
from kd_lightning.taps.resolving import find_all
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.module.test_module import EXAMPLE, IMAGES, TARGETS, loader, trainer

BATCH = torch.rand(6, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
NORMALISATIONS = {  # what is in front of each stage's ReLU
    "wrn_16_1": ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"],
    "vgg8": ["block1.1", "block2.1", "block3.1", "block4.1"],
}
SIGNALS = ["student.preactivations", "teacher.preactivations", "teacher.bn_scales", "teacher.bn_shifts"]


def teacher_of_its_own(name: str) -> nn.Module:
    """In double precision, with normalisations that have seen other images than BATCH."""
    network = create_model(name, 10).double()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.5)
            nn.init.normal_(part.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return network


def in_train_mode(network: nn.Module, names: list[str]) -> list[Tensor]:
    """What these modules give in a copy of the network that trains."""
    twin, seen = copy.deepcopy(network).train(), {}
    for name in names:
        twin.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        twin(BATCH)
    return [seen[name] for name in names]


def margin(scale: float, shift: float) -> float:
    """The mean of a normal variable's negative part, over all that is below 0."""
    negative = math.erfc(shift / abs(scale) / math.sqrt(2)) / 2
    if negative <= 0.001:
        return -3 * abs(scale)
    return shift - abs(scale) * math.exp(-((shift / scale) ** 2) / 2) / math.sqrt(2 * math.pi) / negative


def partial_distance(student: Tensor, teacher: Tensor, normalisation: nn.Module) -> float:
    """Squared distances case by case: the teacher fires; is off, above its margin; is off, below it."""
    scales, shifts = (getattr(normalisation, name).tolist() for name in ("weight", "bias"))
    margins = np.array([margin(*pair) for pair in zip(scales, shifts, strict=True)]).reshape(1, -1, 1, 1)
    s, t = student.numpy(), teacher.numpy()
    fires = (t > 0) * (s - t) ** 2
    above = ((t <= 0) & (t > margins) & (s > t)) * (s - t) ** 2
    below = ((t <= margins) & (s > margins)) * (s - margins) ** 2
    return float((fires + above + below).sum() / len(s))


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_value_is_that_of_a_teacher_in_train_mode(name: str) -> None:
    student, teacher = create_model(name, 10).double(), teacher_of_its_own(name)
    frozen = FrozenNetwork(teacher, find_all(teacher, BATCH[:2], None), batch_statistics=True)
    term = {"ofd": Term(OFD(), SIGNALS, projector=lambda *shapes: ChannelConnector(*shapes).double())}
    module = DistillationModule(student, frozen, term, example_input=BATCH[:2])
    connectors = copy.deepcopy(module.objective.terms["ofd"].projections).train()
    layers = zip(
        in_train_mode(student, NORMALISATIONS[name]), in_train_mode(teacher, NORMALISATIONS[name]), connectors,
        map(teacher.get_submodule, NORMALISATIONS[name]), strict=True,
    )  # fmt: skip
    with torch.no_grad():
        values = [partial_distance(connect(s), t, normalisation) for s, t, connect, normalisation in layers]
        total = module.objective(module.signals({"input": BATCH})).total
        frozen.batch_statistics = False
        otherwise = module.objective(module.signals({"input": BATCH})).total
    expected = sum(value / 2 ** (len(values) - 1 - number) for number, value in enumerate(values))
    assert total.item() == pytest.approx(expected, rel=2e-10)
    assert otherwise.item() != pytest.approx(expected, rel=0.01)


def small_network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(3600, 5))


def test_nothing_in_the_teacher_changes_and_dropout_stays_off() -> None:
    network = small_network()
    teacher = FrozenNetwork(network, batch_statistics=True)
    before = [value.clone() for value in (*network.parameters(), *network.buffers())]
    batch = {"input": BATCH.float().requires_grad_()}
    first, second = (teacher(batch, training=True)["logits"] for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert not any(part.training for part in teacher.modules())
    after = [*network.parameters(), *network.buffers()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    torch.testing.assert_close(teacher(batch)["logits"], network(batch["input"]))
    assert not torch.allclose(first, network(batch["input"]))
    with pytest.raises(RuntimeError):
        teacher({"input": BATCH.float()[:, :1]}, training=True)
    torch.testing.assert_close(teacher(batch)["logits"], network(batch["input"]))


def test_a_batch_of_one_takes_the_running_statistics() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.BatchNorm1d(4))
    answer = FrozenNetwork(network, batch_statistics=True)({"input": BATCH.float()[:1]}, training=True)["logits"]
    torch.testing.assert_close(answer, network(BATCH.float()[:1]))


class Means(nn.Module):
    """A loss that notes what it is given, averaged over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        self.seen.append(teacher.mean(dim=0))
        return (student - teacher).square().mean()


class TestMeans(DistillationModule):
    """Notes the teacher's logits in tests, too."""

    __test__ = False

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        self.tested_means = self.signals({"input": batch[0]})["teacher.logits"].mean(dim=0)  # type: ignore[index]


def test_every_step_of_a_training_has_them_and_no_test(tmp_path: Path) -> None:
    """Behind a normalisation by its own statistics a batch's mean is 0, also after a validation."""
    width = EXAMPLE[0].numel()
    teacher = FrozenNetwork(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(width, affine=False)), batch_statistics=True)
    means = Means()
    student = nn.Sequential(nn.Flatten(), nn.Linear(width, width))
    module = TestMeans(student, teacher, {"means": Term(means, ["student.logits", "teacher.logits"])})
    training = trainer(tmp_path, max_epochs=2)
    training.fit(module, loader(IMAGES, TARGETS), loader(IMAGES, TARGETS))
    assert len(means.seen) == training.global_step > 2
    assert all(torch.allclose(mean, torch.zeros(width), atol=1e-5) for mean in means.seen)
    training.test(module, loader(IMAGES, TARGETS), verbose=False)
    assert not torch.allclose(module.tested_means, torch.zeros(width), atol=1e-2)


@pytest.mark.parametrize("method", ["ofd", "imagenet/ofd"])
def test_both_methods_set_it(method: str) -> None:
    assert composed(f"method={method}").teacher.batch_statistics is True
    assert composed("method=kd").teacher.batch_statistics is False


@pytest.mark.parametrize("cache", ["logits", "prefill", "pooled"])
def test_its_answers_cannot_be_kept(cache: str) -> None:
    with pytest.raises(UserError, match=rf"^teacher\.cache={cache}: with teacher\.batch_statistics=true .*cache=off"):
        check(composed("teacher.batch_statistics=true", f"teacher.cache={cache}"))


def test_nor_can_they_in_a_script(tmp_path: Path) -> None:
    teacher = FrozenNetwork(small_network(), batch_statistics=True)
    with pytest.raises(UserError, match=r"batch_statistics=True"):
        CachedSource(teacher, Answers(tmp_path / "answers.bin", 4, 1, Whole(5, 32)))


def test_an_own_teacher_that_does_not_take_it_is_refused(command: Command) -> None:
    Path("conf", "teacher").mkdir(parents=True)
    own = "{_target_: tests.experiment.test_own_classes.ConstantTeacher, favourite: 3}"
    Path("conf", "teacher", "own.yaml").write_text(own)
    (line,) = command("kd-train", "--config-dir", "conf", "teacher=own", "method=ofd").error_lines
    words = "teacher.batch_statistics=true: ConstantTeacher takes no such argument; ~teacher.batch_statistics"
    assert line.startswith(f"error: {words}")


def test_it_is_a_switch() -> None:
    with pytest.raises(UserError, match=r"^teacher\.batch_statistics=0\.1: must be true or false"):
        check(composed("teacher.batch_statistics=0.1"))
