"""MetaDistil: the gradient of second order by hand, the order of a step, what stays as it was, what is refused."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.ten_classes import TenClasses
from kd_lightning import DistillationModule, Term
from kd_lightning.data import DigitsDataModule
from kd_lightning.data.split import with_quiz
from kd_lightning.errors import UserError
from kd_lightning.experiment.checks.config import check
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.models import create_model
from kd_lightning.optimizers import SAM
from kd_lightning.schedules import Progress, Steps
from kd_lightning.sources import Learner, MetaNetwork, Step
from kd_lightning.sources.meta.gradient import meta_gradient
from tests.cli.test_configs import composed
from tests.conftest import Command
from tests.module.minimised import Losses
from tests.plans.digits_by_hand import ONE_BATCH
from tests.runs.run_process import finish

METHOD = "method=metadistil"
PLATEAU = "{_target_: kd_lightning.schedules.Plateau, start: 0.1, factor: 0.1, end: 0.001}"
TEMPERATURE, ALPHA = 3.0, 0.8


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def by_hand(
    student: np.ndarray, teacher: np.ndarray, taught: tuple[Any, Any], quiz: tuple[Any, Any], rate: float
) -> np.ndarray:
    """dQ/dΦ of linear networks (C, D), by the chain rule: through T·α/B·(p_s - p_t) alone does Φ reach the pilot."""
    (x, y), (given, asked) = taught, quiz
    one_hot = np.eye(len(student))
    soft = softmax(x @ student.T / TEMPERATURE) - softmax(x @ teacher.T / TEMPERATURE)
    hard = softmax(x @ student.T) - one_hot[y]
    pilot = student - rate * (ALPHA * TEMPERATURE * soft + (1 - ALPHA) * hard).T @ x / len(x)
    wanted = (softmax(given @ pilot.T) - one_hot[asked]).T @ given / len(given)  # dQ/dθ', (C, D)
    p = softmax(x @ teacher.T / TEMPERATURE)
    by_p = rate * ALPHA * TEMPERATURE / len(x) * x @ wanted.T  # dQ/dp_t, (B, C)
    by_logits = p * (by_p - (p * by_p).sum(axis=1, keepdims=True)) / TEMPERATURE
    return np.asarray(by_logits.T @ x)


def minimised(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    soft = F.kl_div(F.log_softmax(student / TEMPERATURE, 1), F.softmax(teacher / TEMPERATURE, 1), reduction="batchmean")
    return ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * F.cross_entropy(student, target)


def drawn(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (samples,), generator=generator)


def test_the_gradient_is_that_of_the_chain_rule_by_hand() -> None:
    student, teacher = nn.Linear(5, 3, bias=False).double(), nn.Linear(5, 3, bias=False).double()
    (x, y), (given, asked) = taught, quiz = drawn(7, 1), drawn(6, 2)
    gradient, loss = meta_gradient(
        *(student, teacher, nn.Identity()),
        lambda: minimised(student(x), teacher(x), y),
        lambda: F.cross_entropy(student(given), asked),
        rate=0.7,
    )
    weights = [one.weight.detach().numpy() for one in (student, teacher)]
    expected = by_hand(*weights, *[(one.numpy(), other.numpy()) for one, other in (taught, quiz)], rate=0.7)  # type: ignore[arg-type]
    np.testing.assert_allclose(gradient[0].numpy(), expected, rtol=1e-9)
    assert abs(expected).max() > 1e-3
    assert loss < F.cross_entropy(student(given), asked) + 1, "and it is told"
    assert all(one.weight.grad is None for one in (student, teacher))
    assert [name for name, _ in student.named_parameters()] == ["weight"]


class Normalised(nn.Module):
    """A network with statistics and attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(5, width), nn.BatchNorm1d(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.first(x)).tanh()
        tokens = hidden[:, None, None]
        return self.last((hidden[:, None, None] + F.scaled_dot_product_attention(tokens, tokens, tokens))[:, 0, 0])


def of_weights(network: Normalised, weights: list[Tensor], x: Tensor, learns: bool) -> Tensor:
    """The same by its weights: nothing of a module, and attention over one token is that token."""
    first, bias, scale, shift, last, offset = weights
    statistics = (None, None) if learns else (network.norm.running_mean, network.norm.running_var)
    hidden = F.batch_norm(F.linear(x, first, bias), *statistics, scale, shift, training=learns).tanh()
    return F.linear(2 * hidden, last, offset)


def test_it_is_the_derivative_through_the_pilot_and_nothing_else_changes() -> None:
    student, teacher = Normalised(4).double(), Normalised(6).double().eval()
    (x, y), (given, asked) = drawn(8, 3), drawn(6, 4)
    state = copy.deepcopy(student.state_dict())
    gradient, _ = meta_gradient(
        *(student, teacher, nn.Identity()),
        lambda: minimised(student(x), teacher(x), y),
        lambda: F.cross_entropy(student(given), asked),
        rate=0.5,
    )
    weights = [one.detach().requires_grad_() for one in student.parameters()]
    of_teacher = [one.detach().requires_grad_() for one in teacher.parameters()]
    total = minimised(of_weights(student, weights, x, True), of_weights(teacher, of_teacher, x, False), y)
    steps = torch.autograd.grad(total, weights, create_graph=True)
    pilot = [weight - 0.5 * step for weight, step in zip(weights, steps, strict=True)]
    expected = torch.autograd.grad(F.cross_entropy(of_weights(student, pilot, given, True), asked), of_teacher)
    for own, other in zip(gradient, expected, strict=True):
        torch.testing.assert_close(own, other)
    for name, value in student.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_loss_that_leaves_the_teacher_out_is_told() -> None:
    student, teacher = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    (x, y), (given, asked) = drawn(7, 1), drawn(6, 2)
    with pytest.raises(UserError, match="no term that is minimised depends on the teacher"):
        meta_gradient(
            *(student, teacher, nn.Identity()),
            lambda: F.cross_entropy(student(x), y),
            lambda: F.cross_entropy(student(given), asked),
            rate=0.5,
        )


TERMS = {
    "ce": Term(CrossEntropy(), ["student.logits", "target"], 1 - ALPHA),
    "kd": Term(SoftTarget(temperature=TEMPERATURE), ["student.logits", "teacher.logits"], ALPHA),
}
QUIET: dict[str, Any] = {
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False),
    "accelerator": "cpu",
}


def streams(batches: int = 4) -> dict[str, DataLoader[Any]]:
    taught, quiz = drawn(8 * batches, 5), drawn(6, 6)
    return {
        "taught": DataLoader(TensorDataset(taught[0].float(), taught[1]), batch_size=8),
        "quiz": DataLoader(TensorDataset(quiz[0].float(), quiz[1]), batch_size=6),
    }


def test_a_training_is_that_of_a_plain_loop() -> None:
    """The teacher's step first, with momentum and weight decay; then the student's, from what the teacher became."""
    student, teacher = nn.Linear(5, 3), nn.Linear(5, 3)
    plain, taught = copy.deepcopy(student), copy.deepcopy(teacher)
    source = MetaNetwork(teacher, loss=CrossEntropy(), lr=Steps([0.0, 0.3], fractions=[0.25]), weight_decay=0.01)
    module = DistillationModule(student, source, TERMS, lambda weights: torch.optim.SGD(weights, lr=0.2, momentum=0.5))
    loaders = streams()
    lightning.Trainer(max_epochs=1, **QUIET).fit(module, loaders)
    own = torch.optim.SGD(plain.parameters(), lr=0.2, momentum=0.5)
    of_teacher = torch.optim.SGD(taught.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
    ((given, asked),) = loaders["quiz"]
    for number, (x, y) in enumerate(loaders["taught"]):
        if number > 0:  # in the first quarter its rate is 0, and it is tried alone
            total = minimised(plain(x), taught(x), y)
            steps = torch.autograd.grad(total, [plain.weight, plain.bias], create_graph=True)
            pilot = [weight - 0.2 * step for weight, step in zip(plain.parameters(), steps, strict=True)]
            quizzed = F.cross_entropy(F.linear(given, *pilot), asked)
            taught.weight.grad, taught.bias.grad = torch.autograd.grad(quizzed, [taught.weight, taught.bias])
            of_teacher.step()
        own.zero_grad()
        minimised(plain(x), taught(x).detach(), y).backward()
        own.step()
    for one, other in ((module.student, plain), (source.network, taught)):
        for value, expected in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(value, expected)
    assert not teacher.training
    assert not any(one.requires_grad for one in teacher.parameters())


def test_its_weights_and_momentum_are_in_checkpoints(tmp_path: Path) -> None:
    def fit(epochs: int, checkpoint: Path | None = None) -> tuple[DistillationModule, lightning.Trainer]:
        torch.manual_seed(0)
        source = MetaNetwork(nn.Linear(5, 3), loss=CrossEntropy(), lr=0.1)
        module = DistillationModule(nn.Linear(5, 3), source, TERMS)
        trainer = lightning.Trainer(max_epochs=epochs, **QUIET)
        trainer.fit(module, streams(), ckpt_path=checkpoint)
        return module, trainer

    whole, _ = fit(2)
    first, trainer = fit(1)
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    resumed, _ = fit(2, tmp_path / "cut.ckpt")
    stored = torch.load(tmp_path / "cut.ckpt", weights_only=True)["state_dict"]
    assert {"teacher.network.weight", "teacher.velocity.0"} <= stored.keys()
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.state_dict()["teacher.network.weight"], whole.state_dict()["teacher.network.weight"])


def test_it_steps_once_for_a_step_of_several_batches() -> None:
    seen: list[int] = []

    class Counting(MetaNetwork):
        def before_step(self, step: Step) -> dict[str, Tensor]:
            seen.append(len(step.streams["taught"]["input"]))
            return super().before_step(step)

    inputs = torch.rand(40, 5, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(inputs, torch.arange(40) % 3), batch_size=8)  # two steps of two, and one of one
    terms = {"kd": Term(SoftTarget(), ["student.logits", "teacher.logits"])}
    teacher = Counting(nn.Linear(5, 3), loss=CrossEntropy())
    module = DistillationModule(student=nn.Linear(5, 3), teacher=teacher, terms=terms)
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    }
    trainer = lightning.Trainer(max_epochs=2, accumulate_grad_batches=2, enable_model_summary=False, **quiet)
    trainer.fit(module, {"taught": loader, "quiz": loader})
    assert len(seen) == trainer.global_step == 6


def test_two_passes_of_a_step_see_one_teacher() -> None:
    source = MetaNetwork(nn.Linear(5, 3), loss=CrossEntropy(), lr=0.1)
    steps: list[Tensor] = []
    source.register_forward_hook(lambda module, *_: steps.append(module.network.weight.clone()))  # type: ignore[operator, union-attr]
    module = DistillationModule(nn.Linear(5, 3), source, TERMS, SAM(torch.optim.SGD, rho=0.05))
    lightning.Trainer(max_steps=1, **QUIET).fit(module, streams())
    before, after = steps
    assert not torch.equal(before, after), "asked in the pilot, and once for both passes"


def test_a_step_that_is_not_finite_is_left_out_where_such_are_skipped() -> None:
    source = MetaNetwork(nn.Linear(2, 1), loss=CrossEntropy())
    source.descend([torch.ones(1, 2), torch.ones(1)], rate=0.1)
    before = copy.deepcopy(source.state_dict())
    source.descend([torch.tensor([[torch.nan, 1.0]]), torch.ones(1)], rate=0.1, skips=True)
    torch.testing.assert_close(source.state_dict(), before, rtol=0, atol=0)
    source.descend([torch.ones(1, 2), torch.ones(1)], rate=0.1, skips=True)
    assert not torch.equal(source.network.weight, before["network.weight"])  # type: ignore[arg-type]


def test_a_step_waits_for_no_device() -> None:
    source = MetaNetwork(nn.Linear(5, 3), loss=CrossEntropy())
    student = Learner(nn.Linear(5, 3))
    source.begin({"student": student})
    objective = nn.Identity()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        (x, y), (given, asked) = (tuple(map(mode.from_tensor, one)) for one in (drawn(7, 1), drawn(6, 2)))
        batch = {"input": x.float(), "target": y}

        def totals() -> dict[str, Tensor]:
            answers = source(batch, training=True)["logits"]
            return {"student": minimised(student(batch)["logits"], answers, y)}

        told = source.before_step(
            Step(
                {"taught": batch, "quiz": {"input": given.float(), "target": asked}},
                {"student": student},
                {"student": objective},
                totals,
                {"student": 0.1},
                Progress(),
                skips=True,
            )
        )
    assert [*told] == ["quiz"]


def test_the_quiz_is_apart_from_what_is_taught() -> None:
    data = DigitsDataModule(batch_size=64, val_fraction=0.5, seed=0)
    changed = with_quiz(data, 0.1)
    taught, quiz, all_of_them = (one.rows for one in (changed.train_set, changed.quiz_set, data.train_set))  # type: ignore[union-attr]
    assert len(quiz) == round(0.1 * len(all_of_them))
    assert torch.equal(torch.cat([taught, quiz]).sort().values, all_of_them)
    loaders = changed.train_dataloader()
    assert [*loaders] == ["taught", "quiz"]
    (batch,) = loaders["quiz"]
    assert torch.equal(batch["index"].sort().values, quiz)
    assert "view" in batch, "augmented like the others"
    assert [*changed.streams] == ["taught", "quiz"]
    assert data.quiz_set is None
    for share in (0.0001, 0.9999):
        with pytest.raises(UserError, match=f"^quiz={share}: "):
            with_quiz(data, share)


@pytest.mark.parametrize(
    ("make", "loaders", "message"),
    [
        (lambda: nn.Linear(5, 3), lambda: streams()["taught"], "^quiz=quiz: .*there is one alone"),
        (lambda: nn.Linear(5, 3), lambda: {"a": streams()["taught"]}, "^quiz=quiz: .*there are a"),
        (lambda: {"one": nn.Linear(5, 3), "two": nn.Linear(5, 3)}, streams, "^of=None: .*there are one, two"),
    ],
)
def test_what_it_cannot_learn_from_is_told(make: Callable[[], Any], loaders: Callable[[], Any], message: str) -> None:
    def fit() -> None:
        module = DistillationModule(make(), MetaNetwork(nn.Linear(5, 3), loss=CrossEntropy()), TERMS)
        lightning.Trainer(max_steps=1, **QUIET).fit(module, loaders())

    with pytest.raises(UserError, match=message):
        fit()


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("teacher.cache=logits",), ("teacher.cache=logits", "MetaDistil", "teacher.cache=off")),
        (("teacher.trained=true",), ("teacher.trained=True", "teacher.trained=false")),
        (("teacher.batch_statistics=true",), ("teacher.batch_statistics=true", "leave it false")),
        (("teacher.meta.lr=-1",), ("teacher.meta.lr=-1", "0 or more")),
        (("teacher.meta.pilot_lr=0",), ("teacher.meta.pilot_lr=0", "above 0")),
        (("teacher.meta.momentum=1",), ("teacher.meta.momentum=1", "below 1")),
        (("teacher.meta.quiz=1",), ("teacher.meta.quiz=1", "below 1")),
        (("+teacher.meta.pilot=1",), ("teacher.meta.pilot=1", "pilot_lr")),
        ((f"teacher.meta.pilot_lr={PLATEAU}",), ("teacher.meta.pilot_lr", "Steps")),
        (("trainer.max_epochs=-1", "scheduler=constant"), ("teacher.meta.lr", "trainer.max_epochs")),
        (("compile=true",), ("compile=True", "compile=false")),
        (("trainer.precision=16-mixed",), ("trainer.precision=16-mixed", "bf16-mixed")),
        (("student.models=[digits_cnn_4,digits_cnn_8]",), ("teacher.meta", "give student.model")),
        (("plan=born_again",), ("teacher.meta", "plan=distillation")),
    ],
)
def test_what_does_not_go_with_the_method_is_told_in_a_line(overrides: tuple[str, ...], parts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as raised:
        check(composed(METHOD, *overrides))
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


RUN = (
    *("kd-train", METHOD, "teacher.meta.lr=0.05", "teacher.model=digits_cnn_8", "scratch=false"),
    *(
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=3",
        "callbacks.progress_bar=null",
        "trainer.accelerator=cpu",
    ),
)


def test_a_run_measures_the_teacher_as_it_became_and_is_tested_again(command: Command, tmp_path: Path) -> None:
    outcome = command(*RUN, "trainer.log_every_n_steps=1", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert "train/teacher_quiz" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    (kept,) = (tmp_path / "run").parent.glob("run/checkpoints/last.ckpt")
    state = torch.load(kept, weights_only=True)["state_dict"]
    assert float(state["teacher.velocity.0"].abs().max()) > 0
    tested = command("kd-eval", "run=run")
    (line,) = [line for line in tested.output.splitlines() if "agreement" in line]
    now, before = line.split()[-2:]
    assert now == before


@pytest.mark.slow
def test_a_run_that_was_stopped_within_an_epoch_goes_on_as_it_would_have(command: Command, tmp_path: Path) -> None:
    saved = ("callbacks.checkpoint_timed.every_minutes=1e-6",)  # after each step
    assert command(*RUN, *saved, "hydra.run.dir=whole").code == 0
    cut = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command(*RUN, *saved, "hydra.run.dir=cut", cut)
    assert command(*RUN, *saved, "hydra.run.dir=cut").code == 0
    whole, cut_off = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    torch.testing.assert_close(cut_off, whole, rtol=0, atol=0)


@pytest.mark.slow
def test_two_ranks_end_where_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [METHOD, "teacher.meta.lr=0.05", "teacher.meta.quiz=0.25", "trainer.max_epochs=3", "scheduler=constant"]
    given += ["scratch=false", *ONE_BATCH]
    for network, width in (("student", 3), ("teacher", 4)):
        given += [f"{network}.model={{_target_: tests.plans.test_two_ranks.Plain, width: {width}}}"]
        given += [f"{network}.taps={{logits: head}}"]
    states = []
    for ranks in (1, 2):
        monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / f"cache{ranks}"))
        trainer = "default" if ranks == 1 else "ddp"
        finish(tmp_path / str(ranks), *given, f"trainer={trainer}", f"data.batch_size={48 // ranks}")
        kept = torch.load(tmp_path / str(ranks) / "checkpoints" / "last.ckpt", weights_only=True)
        states.append(kept["state_dict"])
    torch.testing.assert_close(states[1], states[0])


@pytest.mark.slow
def test_fifty_steps_on_ten_classes_of_cifar100(cifar100: Path) -> None:
    """Of a teacher that learns from a quiz, and of one that learns beside its student: both change, the loss falls."""
    data = TenClasses(root=cifar100, download=False, val_fraction=0, batch_size=32)
    data.setup()
    for learns_from_a_quiz in (True, False):
        student, teacher = (create_model("resnet8", num_classes=10) for _ in range(2))
        before, losses = copy.deepcopy(teacher.state_dict()), Losses()
        if learns_from_a_quiz:
            source = MetaNetwork(teacher, loss=CrossEntropy(), lr=0.05, num_classes=10)
            module = DistillationModule(student, source, TERMS, num_classes=10)
        else:
            own = {"ce": Term(CrossEntropy(), ["student.logits", "target"], 0.5)}
            both = {"student": student, "teacher": teacher}
            module = DistillationModule(both, terms={"student": TERMS, "teacher": own}, num_classes=10)
        trainer = lightning.Trainer(max_steps=50, limit_val_batches=0, callbacks=[losses], **QUIET)
        trainer.fit(module, with_quiz(data, 0.1) if learns_from_a_quiz else data)
        assert len(losses.found) == 50
        assert all(np.isfinite(losses.found))
        assert sum(losses.found[-10:]) < sum(losses.found[:10]), losses.found
        assert not torch.equal(teacher.state_dict()["conv1.weight"], before["conv1.weight"])
