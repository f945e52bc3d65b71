"""Each sample's value of every loss of conf/loss: its mean is the loss; weighed by sample weights; or there is none."""

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from kd_lightning import losses
from kd_lightning.config.conf import conf_dir, options
from kd_lightning.config.resolvers import register_resolvers
from kd_lightning.errors import UserError
from kd_lightning.learners.over_sources import OverPeers
from kd_lightning.losses import functional
from kd_lightning.losses.per_sample import counted, has_values, values
from kd_lightning.losses.sample_weights import Confidence, Entropy
from kd_lightning.objective import Objective, Term
from kd_lightning.schedules import Linear, Progress

LOSSES = options("loss")
BATCH, CLASSES, IMAGES = 6, 5, 20
PEERS = ["second", "third"]
ROLES = ("student", "teacher", "another", *PEERS)
TARGET = [0, -1, 3, 3, -100, 1]  # two without a label
NUMBERS = ["mae", "mse"]  # losses whose targets are numbers, of which all are given
SHAPES = {
    "logits": (CLASSES,),
    "pooled": (12,),
    **{f"{tap}{n}": (4 * n, 8 // n, 8 // n) for n in (1, 2) for tap in ("stage", "preactivation")},
    "final": (12, 4, 4),
    "projected": (12, 4, 4),
    "strong.logits": (CLASSES,),
}
WEIGHTS = {f"bn_{tap}{n}": (4 * n,) for n in (1, 2) for tap in ("scale", "shift")} | {
    "classifier_weight": (CLASSES, 12),
    "classifier_bias": (CLASSES,),
}


def signals(name: str = "ce") -> dict[str, Tensor]:
    """A step's signals by all names that conf/loss takes, in float64, with the targets of this loss."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    found = {f"{role}.{tap}": drawn(BATCH, *shape) for role in ROLES for tap, shape in SHAPES.items()}
    found |= {f"{role}.{tap}": drawn(*shape) for role in ROLES for tap, shape in WEIGHTS.items()}
    images = {"train.index": torch.arange(IMAGES), "train.target": torch.arange(IMAGES) % CLASSES}
    batch = {"target": torch.tensor(TARGET), "index": torch.arange(BATCH), "weight": drawn(BATCH).exp()}
    if name in NUMBERS:
        batch["target"] = drawn(BATCH, CLASSES)
    elif name == "bce":
        batch["target"] = torch.tensor([[-1] * CLASSES if label < 0 else [0, -1, 1, 0, label % 2] for label in TARGET])
    for view in ("second", "same_class"):
        found |= {f"student@{view}.{tap}": drawn(BATCH, *SHAPES[tap]) for tap in ("logits", "pooled")}
    found |= {
        f"{key}.detached": found[key] for key in ("student.logits", "student.pooled", "student@same_class.logits")
    }
    progress = {"progress.epoch": torch.tensor(3.0), "progress.fraction": torch.tensor(0.3)}
    return {**found, **images, **batch, **progress}


@cache
def config(name: str) -> Any:
    register_resolvers()
    loss = OmegaConf.load(conf_dir() / f"loss/{name}.yaml")
    root = OmegaConf.create({"temperature": 4.0, "alpha": 0.9, "loss": loss})
    return root.loss[name]


def term(name: str, **given: Any) -> Term:
    """The term of a file of conf/loss, built for the signals, in float64."""
    made = OverPeers.around(instantiate(config(name), **given), PEERS)
    if getattr(made.loss, "all_at_once", False):  # what an ensemble of this teacher and another gives
        made.signals = [
            [one, f"another.{one.partition('.')[2]}"] if isinstance(one, str) and one.startswith("teacher.") else one
            for one in made.signals
        ]
    objective = Objective({name: made})
    taps = {role: [*SHAPES, *WEIGHTS] for role in ROLES}
    objective.connect(taps, ["index", "target"])
    given = signals(name).items()
    objective.build({key: value.float() if value.is_floating_point() else value for key, value in given})
    objective.double().eval()
    ((_, made),) = objective.items()
    return made


def taken(made: Term, given: Mapping[str, Tensor]) -> list[Any]:
    """What the term's loss gets."""
    picked = [given[name] if isinstance(name, str) else [given[one] for one in name] for name in made.signals]
    return made._projected(picked)


PER_SAMPLE = [name for name in LOSSES if has_values(instantiate(config(name)).loss)]
OF_A_BATCH = [name for name in LOSSES if name not in PER_SAMPLE]


def test_every_loss_stands_in_conf() -> None:
    """So that the tests below see a new one."""
    seen = {type(instantiate(config(name)).loss).__name__ for name in LOSSES}
    assert seen | {"Paraphrase", "functional"} == set(losses.__all__)
    assert set(OF_A_BATCH) == {"cc", "cc_kernel", "dist", "mcl", "mlkd", "mmd", "pkt", "rkd", "sp"}


@pytest.mark.parametrize("name", PER_SAMPLE)
@torch.no_grad()
def test_the_mean_of_the_samples_values_is_the_loss(name: str) -> None:
    made = term(name)
    given = taken(made, signals(name))
    each, which = values(made.loss, *given), counted(made.loss, *given)
    assert each.shape == (BATCH,)
    assert len(each.unique()) >= 4, "samples differ"
    torch.testing.assert_close(each.sum() / (BATCH if which is None else which.sum()), made.loss(*given))
    if which is not None:
        assert which.tolist() == [label >= 0 for label in TARGET]
        assert not each[~which].any()


@pytest.mark.parametrize("name", PER_SAMPLE)
def test_sample_weights_weigh_the_values(name: str) -> None:
    made, given = term(name, sample_weight="weight"), signals(name)
    if counted(made.loss, *taken(made, given)) is not None:
        given["weight"][1] = torch.nan  # of a sample without a label
    given = {key: value.requires_grad_() if value.dtype == torch.float64 else value for key, value in given.items()}
    each, which = values(made.loss, *taken(made, given)), counted(made.loss, *taken(made, given))
    which = torch.ones(BATCH, dtype=torch.bool) if which is None else which
    value = made(given)
    torch.testing.assert_close(value, (given["weight"] * each)[which].sum() / which.sum())
    value.backward()
    gradients = [one.grad for one in given.values() if one.is_leaf and one.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert given["weight"].grad is None, "no gradient goes through the weights"


@pytest.mark.parametrize("name", OF_A_BATCH)
def test_a_loss_of_relations_refuses_sample_weights(name: str) -> None:
    kind = type(instantiate(config(name)).loss).__name__
    with pytest.raises(UserError, match=rf"^terms\.{name}\.sample_weight=weight: {kind} .* leave sample_weight out"):
        term(name, sample_weight="weight")


def test_probabilities_as_targets_all_count() -> None:
    given = signals()
    given["target"] = torch.full((BATCH, CLASSES), 1 / CLASSES, dtype=torch.float64)
    for name in ("ce", "wsld", "ofa", "cs_kd", "byot"):
        made = term(name, sample_weight="weight")
        arguments = taken(made, given)
        assert counted(made.loss, *arguments) is None
        torch.testing.assert_close(values(made.loss, *arguments).mean(), made.loss(*arguments))
        torch.testing.assert_close(made(given), (given["weight"] * values(made.loss, *arguments)).mean())


def test_masked_classes_have_values() -> None:
    given = signals()
    for role in ("student", "teacher"):
        given[f"{role}.logits"][:, 2] = -torch.inf
    for name in ("kd", "ce", "hard_label", "ls", "ctkd", "wsld", "dkd", "bernoulli_kd"):
        made = term(name, sample_weight="weight")
        given["target"] = torch.tensor([0, -1, 3, 3, -100, 1])
        each = values(made.loss, *taken(made, given))
        assert each.isfinite().all()
        which = counted(made.loss, *taken(made, given))
        count = BATCH if which is None else which.sum()
        torch.testing.assert_close(made(given), (given["weight"] * each).sum() / count)


def test_functions_that_take_a_reduction_know_no_other() -> None:
    known = {name: getattr(functional, name) for name in functional.__all__}
    taking = {name for name, one in known.items() if "reduction" in inspect.signature(one).parameters}
    assert len(taking) >= 18
    two = torch.randn(2, 3)
    with pytest.raises(ValueError, match="reduction=sum: must be mean, a scalar, or none"):
        functional.kd(two, two, reduction="sum")  # type: ignore[arg-type]
    for function in (functional.hard_label, functional.fitnet, functional.mean_squared_logits):
        with pytest.raises(ValueError, match="reduction=sum"):
            function(two, two, reduction="sum")  # type: ignore[arg-type]


# Losses of one's own.


class Distances(nn.Module):
    """A value for each sample."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().sum(dim=1)


class Scalar(nn.Module):
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().sum(dim=1).mean()


class ByClass(nn.Module):
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=0)


class Labelled(nn.Module):
    """Counts the samples with a label alone, as `counted` says."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, target.clamp(min=-1), ignore_index=-1, reduction="none")

    def counted(self, logits: Tensor, target: Tensor) -> Tensor:
        return target >= 0


BOTH = ["student.logits", "teacher.logits"]


def test_ones_own_loss_gives_a_value_for_each_sample_or_their_mean() -> None:
    given = signals()
    each = Distances()(given["student.logits"], given["teacher.logits"])
    torch.testing.assert_close(Term(Distances(), BOTH)(given), each.mean())
    torch.testing.assert_close(Term(Scalar(), BOTH)(given), each.mean())
    weighted = Term(Distances(), BOTH, sample_weight="weight")
    torch.testing.assert_close(weighted(given), (given["weight"] * each).sum() / BATCH)
    alone = Term(Labelled(), ["student.logits", "target"])
    expected = functional.cross_entropy(given["student.logits"], given["target"])
    torch.testing.assert_close(alone(given), expected)
    standardized = Term(losses.LogitStandardization(Distances()), BOTH, sample_weight="weight")
    each = Distances()(*(functional.standardize(given[name]) for name in BOTH))
    torch.testing.assert_close(standardized(given), (given["weight"] * each).mean())


@pytest.mark.parametrize(
    ("loss", "weight", "message"),
    [
        (Scalar(), "weight", r"terms\.own\.sample_weight=weight: Scalar gives one value for the batch; .*\(B,\)"),
        (ByClass(), None, r"terms\.own: loss=ByClass: gives a tensor of shape \(5,\); let it give a scalar"),
        (losses.LogitStandardization(losses.DIST()), "weight", r"terms\.own\.sample_weight=weight: .* no value of one"),
        (Distances(), "student.logits", r"terms\.own\.sample_weight=student\.logits: gives \(6, 5\); must be .*\(6,\)"),
        (Distances(), "wieght", r"terms\.own\.sample_weight=wieght: nobody gives this signal; did you mean weight"),
        (Distances(), lambda signals: signals["teacher.stage9"], r"sample_weight=teacher\.stage9: nobody gives"),
        (Distances(), lambda signals: 1.0, r"sample_weight=function: gives float; must be a weight for each sample"),
        (Distances(), 0.5, r"sample_weight=0\.5: must be the name of a signal, or a function"),
    ],
)
def test_what_is_wrong_with_sample_weights_is_one_line(loss: nn.Module, weight: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Objective({"own": Term(loss, BOTH, sample_weight=weight)})(signals())


def test_signals_of_sample_weights_are_asked_for_and_checked() -> None:
    named = Term(Distances(), BOTH, sample_weight=Entropy("teacher.pooled"))
    objective = Objective({"own": named})
    assert {*objective.names()} == {*BOTH, "teacher.pooled"}
    with pytest.raises(UserError, match=r"terms\.own\.sample_weight=teacher\.pooled: the teacher has no such tap"):
        objective.connect({"student": ["logits"], "teacher": ["logits"]})
    last = Objective({"own": Term(Distances(), BOTH, sample_weight="teacher.last_stage")})
    last.connect({"student": ["logits"], "teacher": ["logits", "stage1", "stage2"]})
    assert {*last.names()} == {*BOTH, "teacher.stage2"}


def test_ready_sample_weights() -> None:
    given = signals()
    probabilities = given["teacher.logits"].softmax(dim=1)
    torch.testing.assert_close(Confidence()(given), probabilities.amax(dim=1))
    softened = (given["student.logits"] / 2).softmax(dim=1)
    torch.testing.assert_close(Entropy("student.logits", 2.0)(given), -(softened * softened.log()).sum(dim=1))
    given["teacher.logits"][:, 1:] = -torch.inf
    assert not Entropy()(given).any(), "of one class that is left"
    with pytest.raises(UserError, match=r"^temperature=0: must be a finite number above 0"):
        Entropy(temperature=0)


def test_sample_weights_are_in_full_precision_and_may_hold_a_state() -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))
            self.dtype: torch.dtype | None = None

        def forward(self, given: Mapping[str, Tensor]) -> Tensor:
            self.dtype = given["teacher.logits"].dtype
            self.steps += 1
            return given["teacher.logits"].amax(dim=1)

    seen = Seen()
    objective = Objective({"own": Term(Distances(), BOTH, sample_weight=seen)})
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in signals().items()}
    assert objective.bfloat16()(half).total.dtype == torch.float32
    ((_, own),) = objective.items()
    assert isinstance(own.sample_weight, Seen)
    assert own.sample_weight.dtype == torch.float32
    assert objective.state_dict()["terms.own.sample_weight.steps"].dtype == torch.float32
    assert (own.sample_weight.steps, seen.steps) == (1, 0), "each objective has its own"


# Several ranks.


def objective() -> Objective:
    both = ["student.logits", "teacher.logits"]
    return Objective(
        {
            "ce": Term(losses.CrossEntropy(), ["student.logits", "target"], 0.5),
            "kd": Term(losses.SoftTarget(Linear(2.0, 1.0)), both),
            "weighted": Term(losses.DKD(), [*both, "target"], 2.0, sample_weight=Confidence()),
            "own": Term(Distances(), both, 0.1),
        }
    )


def gradient(examples: int, process: int = 0, processes: int = 1) -> list[Tensor]:
    """The total and a student's gradient, of one process's share of as many examples."""
    torch.manual_seed(0)
    student = nn.Linear(4, CLASSES, dtype=torch.float64)
    inputs, teacher = (torch.randn(examples, size, dtype=torch.float64) for size in (4, CLASSES))
    target = torch.tensor(TARGET[:examples])
    inputs, teacher, target = (part[process::processes] for part in (inputs, teacher, target))
    given = {"student.logits": student(inputs), "teacher.logits": teacher, "target": target}
    total = objective()(given).total
    total.backward()
    assert student.weight.grad is not None
    return [total.detach(), student.weight.grad]


def one_of_two(process: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=process, world_size=2)
    found = {}
    for examples in (5, 6):  # 3 and 2, of which 2 and 1 have a label; 3 and 3, of which 2 and 2
        averaged = gradient(examples, process, processes=2)
        for value in averaged:  # as DistributedDataParallel does
            torch.distributed.all_reduce(value)
        found[examples] = [value / 2 for value in averaged]
    with torch.no_grad():  # nothing is asked of the others
        if process:
            objective()(signals())
    torch.save(found, f"{folder}/{process}")
    torch.distributed.destroy_process_group()


def test_values_and_weights_ask_the_device_for_nothing() -> None:
    objective_, given = objective(), signals()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = {name: mode.from_tensor(value) for name, value in given.items()}
        fake["student.logits"].requires_grad_()
        objective_(fake, Progress(fraction=0.5)).total.backward()


@pytest.mark.slow
def test_ranks_of_different_sizes_train_what_one_process_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "0")
    for examples in (5, 6):
        torch.testing.assert_close(found[examples], gradient(examples))
