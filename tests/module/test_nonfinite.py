"""Numbers that go wrong: the training ends and says where, nothing of it is kept, or the step is left out."""

import copy
import json
import math
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.callbacks.nonfinite import SKIPPED_IN_A_ROW
from kd_lightning.errors import NonFinite, UserError
from kd_lightning.finite import nan_if_any_nonfinite
from kd_lightning.losses import CrossEntropy, SoftTarget
from kd_lightning.store import Answers, TopK, Whole
from tests.conftest import Command
from tests.module.test_module import trainer

IMAGES = torch.rand(24, 4, generator=torch.Generator().manual_seed(2))


class Samples(Dataset[dict[str, Tensor]]):
    """Three classes, with indices; some inputs may be replaced by a number."""

    def __init__(self, bad: dict[int, float] | None = None) -> None:
        self.bad = bad or {}

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        image = torch.full((4,), self.bad[i]) if i in self.bad else IMAGES[i]
        return {"input": image, "target": torch.tensor(i % 3), "index": torch.tensor(100 + i)}


def loader(bad: dict[int, float] | None = None) -> DataLoader[Any]:
    return DataLoader(Samples(bad), batch_size=4)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


class Breaks(torch.autograd.Function):
    """The identity, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: float) -> Tensor:
        ctx.gradient = gradient
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.full_like(grads[0], ctx.gradient), None


class Faulty(nn.Module):
    """The mean squared logit, wrong at some calls; counts calls in a buffer, as a memory would."""

    def __init__(self, at: Any = (), value: float = math.nan, in_gradient: bool = False) -> None:
        super().__init__()
        self.at, self.value, self.in_gradient, self.calls = set(at), value, in_gradient, 0
        self.register_buffer("memory", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        wrong = self.calls in self.at
        self.calls += 1
        self.memory.copy_(logits.detach().mean())
        if wrong and self.in_gradient:
            logits = Breaks.apply(logits, self.value)
        return logits.pow(2).mean() + (self.value if wrong and not self.in_gradient else 0.0)


def module(loss: nn.Module | None = None, **options: Any) -> DistillationModule:
    """A small network with batch normalisation, cross-entropy, and a term that can be made to go wrong."""
    ce = {"ce": Term(CrossEntropy(), ["student.logits", "target"])}
    faulty = {} if loss is None else {"faulty": Term(loss, ["student.logits"])}
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    return DistillationModule(network(), terms=ce | faulty, **{"optimizer": optimizer, "num_classes": 3, **options})


def fit(folder: Path, trained: DistillationModule, data: Any = None, **options: Any) -> Trainer:
    run = trainer(folder, **{"log_every_n_steps": 50, **options})
    run.fit(trained, data or loader(), loader())
    return run


def last(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return stored


def saving(folder: Path, **options: Any) -> dict[str, Any]:
    checkpoint = ModelCheckpoint(folder, "last", enable_version_counter=False, **options)
    return {"callbacks": [checkpoint], "enable_checkpointing": True}


IN_STEP_8 = "batch 2 of epoch 1, images 108, 109, 110, 111"


@pytest.mark.parametrize(
    ("loss", "what"),
    [
        (Faulty([8]), "faulty (nan) is"),
        (Faulty([8, 9, 10], math.inf), "faulty (inf) is"),
        (Faulty([8], in_gradient=True), "the gradient is"),
        (Faulty([8], math.inf, in_gradient=True), "the gradient is"),
    ],
)
@pytest.mark.parametrize("log_every_n_steps", [1, 50])
def test_a_training_ends_and_its_last_finite_checkpoint_stays(
    tmp_path: Path, loss: Faulty, what: str, log_every_n_steps: int
) -> None:
    options = {"log_every_n_steps": log_every_n_steps, "gradient_clip_val": 1.0, "max_epochs": 3}
    with pytest.raises(NonFinite) as caught:
        fit(tmp_path, module(copy.deepcopy(loss)), **options, **saving(tmp_path))
    assert str(caught.value) == f"step 8: {what} not finite; {IN_STEP_8}"
    stored = last(tmp_path)
    assert stored["global_step"] == 6
    assert all(value.isfinite().all() for value in stored["state_dict"].values())


class Asked(TorchDispatchMode):
    """Counts the numbers that the device is asked for, by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.in_batch: dict[int, int] = {}
        self.batch = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.in_batch[self.batch] = self.in_batch.get(self.batch, 0) + 1
        return func(*args, **(kwargs or {}))


class Watched(DistillationModule):
    """Tells which batch is being trained on; Lightning asks the module after all callbacks."""

    asked = Asked()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.asked.batch = batch_idx

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.asked.batch = -1


@pytest.mark.parametrize(("on_nonfinite", "in_batches"), [("stop", {2, 5}), ("skip", {0, 1, 2, 3, 4, 5})])
def test_only_logged_steps_ask_the_device(tmp_path: Path, on_nonfinite: str, in_batches: set[int]) -> None:
    trained = Watched(network(), num_classes=3, on_nonfinite=on_nonfinite)
    trained.asked = Asked()
    with trained.asked as asked:
        fit(tmp_path, trained, max_epochs=1, log_every_n_steps=3)
    assert set(asked.in_batch) - {-1} == in_batches
    assert -1 in asked.in_batch


@pytest.mark.parametrize("save", [{"every_n_train_steps": 1}, {"save_on_exception": True}])
def test_no_save_in_between_holds_a_bad_step(tmp_path: Path, save: dict[str, Any]) -> None:
    with pytest.raises(NonFinite, match="step 8"):
        fit(tmp_path, module(Faulty([8])), **saving(tmp_path, **save))
    assert last(tmp_path)["global_step"] == (8 if "every_n_train_steps" in save else 6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_data_are_found_by_their_indices(tmp_path: Path, bad: float) -> None:
    with pytest.raises(NonFinite, match=r"^step 4: ce \(nan\) is not finite; batch 4 of epoch 0, images 116, 117"):
        fit(tmp_path, module(), loader({17: bad}))


def test_batches_without_indices_are_named_by_number(tmp_path: Path) -> None:
    batches = [(batch["input"], batch["target"]) for batch in loader({17: math.nan})]
    pairs = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(NonFinite, match=r"^step 4: ce \(nan\) is not finite; batch 4 of epoch 0$"):
        trainer(tmp_path).fit(module(), pairs)


def test_accumulated_batches_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(
        NonFinite, match=r"^step 1: the gradient is not finite; batches 2 to 3 of epoch 0, images 108, "
    ):
        fit(tmp_path, module(Faulty([3], in_gradient=True)), accumulate_grad_batches=2)


def test_a_teacher_that_goes_wrong_is_named_by_its_term(tmp_path: Path) -> None:
    teacher = network()
    nn.init.constant_(teacher[0].weight, math.nan)  # type: ignore[arg-type]
    kd = {"kd": Term(SoftTarget(4.0), ["student.logits", "teacher.logits"])}
    with pytest.raises(NonFinite, match=r"^step 0: kd \(nan\) is not finite"):
        fit(tmp_path, DistillationModule(network(), teacher, kd))


@pytest.mark.parametrize("rate", [1e20, 1e30])
def test_a_learning_rate_that_is_far_too_high(tmp_path: Path, rate: float) -> None:
    with pytest.raises(NonFinite, match=r"^step 1: ce"):
        fit(tmp_path, module(optimizer=partial(torch.optim.SGD, lr=rate)), **saving(tmp_path))
    assert not (tmp_path / "last.ckpt").exists()


def test_weights_that_overflow_in_the_last_step_are_not_written(tmp_path: Path) -> None:
    def overflowing() -> DistillationModule:
        return module(Faulty([0], 1e20, in_gradient=True), optimizer=partial(torch.optim.SGD, lr=1e30))

    with pytest.raises(NonFinite, match=r"^after step 0: student\..* are not finite"):
        fit(tmp_path, overflowing(), max_steps=1, **saving(tmp_path))
    with pytest.raises(NonFinite, match=r"^after step 0"):
        fit(tmp_path, overflowing(), max_steps=1)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_buffer_may_hold_infinities_from_the_beginning(tmp_path: Path) -> None:
    masked = module()
    masked.student.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))
    fit(tmp_path, masked, **saving(tmp_path))
    assert last(tmp_path)["global_step"] == 12


def test_a_statistic_that_is_nan_from_the_beginning_is_not_written(tmp_path: Path) -> None:
    broken = module()
    broken.student.register_buffer("running_mean", torch.full((3,), math.nan))
    with pytest.raises(NonFinite, match=r"^after step \d+: student.running_mean is not finite"):
        fit(tmp_path, broken, **saving(tmp_path))
    assert not (tmp_path / "last.ckpt").exists()


class States(Callback):
    """Weights, buffers and momentum, before the first step and after each step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.logged: list[float] = []

    def note(self, trainer: Trainer, module: LightningModule) -> None:
        momentum = trainer.optimizers[0].state_dict()["state"]
        self.seen.append(copy.deepcopy({**module.state_dict(), "momentum": momentum}))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note(trainer, pl_module)

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step:
            self.note(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logged.append(float(trainer.callback_metrics["train/skipped_steps"]))


def test_skipped_steps_leave_everything_as_it_was(tmp_path: Path) -> None:
    states, trained = States(), module(Faulty([2, 3, 8]), on_nonfinite="skip")
    fit(tmp_path, trained, log_every_n_steps=1, callbacks=[states])
    assert states.logged == [2.0, 3.0]
    assert trained.finite.skipped == 3
    weights = [seen["student.0.weight"] for seen in states.seen]
    assert [step for step in range(11) if torch.equal(weights[step], weights[step + 1])] == [2, 3, 8]
    momenta = [seen["momentum"][0]["momentum_buffer"] for seen in states.seen[1:]]
    assert [step for step in range(1, 11) if torch.equal(momenta[step - 1], momenta[step])] == [2, 3, 8]


@pytest.mark.parametrize("kind", ["loss", "gradient", "data"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_skipped_step_puts_buffers_back(tmp_path: Path, kind: str, accumulated: int) -> None:
    """A training whose second step is skipped ends with the statistics of one that ended before it."""
    loss = Faulty([accumulated] if kind == "loss" else [2 * accumulated - 1] if kind == "gradient" else [])
    loss.in_gradient = kind == "gradient"
    trained = module(loss, on_nonfinite="skip")
    short = copy.deepcopy(trained)
    short.objective.terms["faulty"].loss.at = set()  # type: ignore[union-attr]
    data = loader({5 * accumulated: math.nan}) if kind == "data" else loader()
    limits = {"accumulate_grad_batches": accumulated, "max_epochs": -1}
    trainer(tmp_path, max_steps=2, **limits).fit(trained, data)
    trainer(tmp_path, max_steps=1, **limits).fit(short, loader())
    assert trained.finite.skipped == 1
    assert short.finite.skipped == 0
    for name, value in short.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=0, atol=0, msg=name)


def in_float16(initial_scale: float) -> dict[str, Any]:
    return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=initial_scale))]}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("on_nonfinite", ["stop", "skip"])
def test_an_overflow_that_the_scaler_corrects_is_no_error(tmp_path: Path, on_nonfinite: str, fused: bool) -> None:
    optimizer = partial(torch.optim.SGD, lr=0.01, fused=fused)
    trained = module(optimizer=optimizer, on_nonfinite=on_nonfinite)
    run = fit(tmp_path, trained, **in_float16(2.0**22))
    assert run.precision_plugin.scaler.get_scale() < 2.0**22  # type: ignore[attr-defined]
    assert trained.finite.skipped == 0
    assert all(value.isfinite().all() for value in trained.state_dict().values())


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_that_no_scale_corrects_is_one(tmp_path: Path, fused: bool) -> None:
    optimizer = partial(torch.optim.SGD, lr=0.01, fused=fused)
    with pytest.raises(NonFinite, match=r"^step \d+: the gradient is not finite"):
        fit(tmp_path, module(Faulty(range(99), in_gradient=True), optimizer=optimizer), **in_float16(2.0**-16))


@pytest.mark.parametrize("fused", [False, True])
def test_a_bad_loss_is_skipped_in_float16_too(tmp_path: Path, fused: bool) -> None:
    optimizer = partial(torch.optim.SGD, lr=0.1, fused=fused)
    trained = module(Faulty([1]), optimizer=optimizer, on_nonfinite="skip")
    short = copy.deepcopy(trained)
    trainer(tmp_path, max_steps=2, max_epochs=-1, **in_float16(1.0)).fit(trained, loader())
    trainer(tmp_path, max_steps=1, max_epochs=-1, **in_float16(1.0)).fit(short, loader())
    assert trained.finite.skipped == 1
    for name, value in short.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_too_many_in_a_row_end_the_training_also_where_they_are_skipped(tmp_path: Path) -> None:
    apart = module(Faulty([*range(1, SKIPPED_IN_A_ROW), *range(11, 20)]), on_nonfinite="skip")
    fit(tmp_path, apart, max_epochs=4)
    assert apart.finite.skipped == 2 * SKIPPED_IN_A_ROW - 2
    with pytest.raises(NonFinite, match=r"^step 12: faulty \(nan\) .*; the 10th step in a row that was skipped"):
        fit(tmp_path, module(Faulty(range(3, 30)), on_nonfinite="skip"), max_epochs=4)


def test_what_was_skipped_is_counted_over_an_interruption(tmp_path: Path) -> None:
    fit(tmp_path, module(Faulty([2, 3]), on_nonfinite="skip"), max_epochs=1, **saving(tmp_path))
    resumed = module(Faulty([0]), on_nonfinite="skip")
    trainer(tmp_path, max_epochs=2).fit(resumed, loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert resumed.finite.skipped == 3


def test_only_stop_and_skip_are_known() -> None:
    with pytest.raises(UserError, match=r"^on_nonfinite=ignore: must be stop or skip"):
        module(on_nonfinite="ignore")


class Constant(nn.Module):
    """The same logits for each input, but for those whose first number is above a half."""

    def __init__(self, value: float, otherwise: int = 0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.value, self.otherwise = value, otherwise

    def forward(self, x: Tensor) -> Tensor:
        logits = 5.0 * nn.functional.one_hot(torch.full((len(x),), self.otherwise), 3).float() * self.scale
        return torch.where(x[:, :1] > 0.5, self.value, logits)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_count_as_wrong(tmp_path: Path, value: float) -> None:
    bad = IMAGES[:, 0] > 0.5
    right = (~bad & (torch.arange(24) % 3 == 0)).float().mean().item()
    measured = DistillationModule(Constant(value), Constant(0.0), num_classes=3)
    with pytest.warns(
        UserWarning, match=rf"test: the logits of {int(bad.sum())} inputs are not finite .*, of images 1"
    ):
        tested = trainer(tmp_path).test(measured, loader(), verbose=False)[0]
    assert tested["test/top1"] == pytest.approx(right)
    assert tested["test/agreement"] == pytest.approx((~bad).float().mean().item())
    assert not math.isfinite(tested["test/nll"])
    assert all(array.isfinite().all() for array in measured.tested.values())
    with pytest.warns(UserWarning, match="validation: the logits"):
        validated = trainer(tmp_path).validate(measured, loader(), verbose=False)[0]
    assert validated["val/top1"] == pytest.approx(right)
    other = DistillationModule(Constant(0.0), Constant(value), num_classes=3)  # all say class 0, if any
    assert trainer(tmp_path).test(other, loader(), verbose=False)[0]["test/agreement"] == tested["test/agreement"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_labels_may_be_small_integers(tmp_path: Path, dtype: torch.dtype) -> None:
    data = TensorDataset(IMAGES, (torch.arange(24) % 3).to(dtype))
    measured = DistillationModule(Constant(math.nan), num_classes=3)
    expected = trainer(tmp_path).test(measured, loader(), verbose=False)[0]
    assert trainer(tmp_path).test(measured, DataLoader(data, batch_size=4), verbose=False)[0] == expected


def test_masked_classes_are_no_fault(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    tested = trainer(tmp_path).test(module(), loader(), verbose=False)[0]
    assert math.isfinite(tested["test/nll"])
    masked = DistillationModule(Constant(-math.inf), num_classes=3)
    masked.finite.outputs(torch.tensor([[0.0, -math.inf]]), None)
    assert not masked.finite.outputs(torch.tensor([[0.0, -math.inf]]), None).any()
    assert not any("not finite" in str(warning.message) for warning in recwarn)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gradients_of_every_kind_are_seen_and_left_as_they_are(dtype: torch.dtype, value: float) -> None:
    sound = [torch.randn(3, 2), torch.tensor(1e30), torch.ones(2, dtype=dtype)]
    before = [gradient.clone() for gradient in sound]
    assert nan_if_any_nonfinite(sound) == 0
    assert all(torch.equal(a, b) for a, b in zip(before, sound, strict=True))
    sound[2][1] = value
    assert nan_if_any_nonfinite(sound).isnan()


@pytest.mark.parametrize("encoding", [Whole(3), Whole(3, 32), TopK(3, 2)], ids=repr)
def test_answers_that_are_not_finite_are_not_kept(tmp_path: Path, encoding: Any) -> None:
    answers = Answers(tmp_path / "answers.bin", 4, 1, encoding)
    index, view = torch.arange(4), torch.zeros(4, dtype=torch.int64)
    values = torch.tensor([[1.0, 2.0, 3.0], [math.nan, 0.0, 0.0], [0.0, math.inf, 1.0], [3.0, 2.0, 1.0]])
    given = answers.write(index, view, values)
    assert given[1].isnan()[0]
    assert given[2, 1] == math.inf
    kept, missing = answers.read(index, view)
    assert missing.tolist() == [1, 2]
    torch.testing.assert_close(kept[[0, 3]], given[[0, 3]])


# As a user meets it.

SHORT = (
    "data.train_samples=128",
    "trainer.max_epochs=3",
    "trainer.accelerator=cpu",
    "student.model=digits_cnn_4",
)
ALONE = (*SHORT, "teacher=none")
WITH_TEACHER = (*SHORT, "teacher.model=digits_cnn_4")


def term(name: str, loss: str) -> str:
    return (
        f"+loss.{name}={{_target_: kd_lightning.objective.Term, "
        f"loss: {{_target_: tests.module.test_nonfinite.{loss}}}, signals: [student.logits], weight: 1.0}}"
    )


class FaultyLater(Faulty):
    """Goes wrong in the second epoch of two batches."""

    def __init__(self) -> None:
        super().__init__([3])


class FaultyOnce(FaultyLater):
    pass


class FaultyLong(Faulty):
    def __init__(self) -> None:
        super().__init__(range(1, 100))


class FaultyFromTheStart(Faulty):
    def __init__(self) -> None:
        super().__init__([0])


def finite_files(folder: Path) -> list[str]:
    """The names of the files with weights below a folder, all of which must be finite."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".ckpt":
            state = torch.load(path, weights_only=True)["state_dict"]
        elif path.suffix == ".safetensors":
            state = load_file(path)
        else:
            continue
        assert all(value.isfinite().all() for value in state.values() if value.is_floating_point()), path
        found.append(path.name)
    return found


def test_a_run_ends_with_one_line_and_resumes_from_its_last_finite_checkpoint(command: Command) -> None:
    outcome = command("kd-train", *ALONE, term("faulty", "FaultyLater"), "hydra.run.dir=run")
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert line.startswith("error: student: step 3: faulty (nan) is not finite; batch 1 of epoch 1, images ")
    assert "Traceback" not in outcome.errors
    assert finite_files(outcome.folder / "run") == ["best.ckpt", "last.ckpt"]
    again = command("kd-train", *ALONE, term("faulty", "FaultyLater"), "hydra.run.dir=run", "on_nonfinite=skip")
    assert again.code == 0, again.errors
    assert "resuming       after step 2, in epoch 0" in again.output
    assert json.loads((again.folder / "run" / "summary.json").read_text())["skipped_steps"] == 1
    assert "1 steps of the student" in again.output


def test_a_teacher_that_diverges_is_not_kept(command: Command, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    outcome = command("kd-train", *WITH_TEACHER, "optimizer.lr=1e25", f"paths.cache_dir={cache}")
    assert outcome.code == 1
    assert outcome.error_lines[0].startswith("error: teacher: step 1: ce (nan) is not finite")
    assert not list(cache.rglob("record.json"))
    assert finite_files(tmp_path) == []


def test_an_initialisation_ends_a_run_too(command: Command) -> None:
    initialization = "initialization={epochs: 2, lr: 1e25, loss: ${loss}}"
    outcome = command("kd-train", *ALONE, initialization)
    assert outcome.code == 1
    assert "step 1: ce (nan) is not finite" in outcome.error_lines[0]
    assert finite_files(outcome.folder) == []


def test_weights_that_are_not_finite_are_refused(command: Command, tmp_path: Path) -> None:
    trained = command("kd-train", *ALONE, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert trained.code == 0, trained.errors
    weights = load_file(tmp_path / "run" / "student.safetensors")
    name = next(name for name in weights if name.endswith("weight"))
    weights[name][0] = math.nan
    save_file(weights, tmp_path / "nan.safetensors")
    for role in ("student", "teacher"):
        outcome = command("kd-train", *WITH_TEACHER, f"{role}.weights=nan.safetensors")
        assert outcome.code == 2
        assert f"{role}.weights=nan.safetensors: {name} not finite" in outcome.error_lines[0]
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    stored = torch.load(checkpoint, weights_only=True)
    stored["state_dict"][f"student.{name}"][0] = math.nan
    torch.save(stored, checkpoint)
    outcome = command("kd-eval", "run=run")
    assert outcome.code == 2
    assert "not finite" in outcome.error_lines[0]


def test_a_sweep_names_its_diverged_job_and_never_selects_it(command: Command) -> None:
    outcome = command(
        "kd-train", "-m", *ALONE, "trainer.max_epochs=1", "optimizer.lr=0.05,1e25", "hydra.sweep.dir=sweep"
    )
    assert outcome.code == 1
    sweep = json.loads((outcome.folder / "sweep" / "sweep.json").read_text())
    assert sweep["selected"]["jobs"] == ["0"]
    assert sweep["failed"] == 1
    status = json.loads((outcome.folder / "sweep" / "1" / "status.json").read_text())
    assert status["status"] == "failed"
    assert status["error"].startswith("student: step 1: ce (nan) is not finite")
    assert re.search(r"job 1 \(optimizer.lr=.*\) failed: student: step 1: ce \(nan\) is not finite", outcome.output)


def test_a_job_without_a_finite_accuracy_is_never_selected() -> None:
    from kd_lightning.runs.status import FINISHED, Status
    from kd_lightning.sweeps.selection import Configuration, Job, select

    def job(validation: float) -> Configuration:
        return Configuration({}, [Job("0", Status(FINISHED, [], 0.0, validation=validation))])

    good = job(0.5)
    assert select([job(math.nan), good]) is good
    assert select([job(math.nan)]) is None


ONLY_RANK_ONE = """
import math, os
from torch import nn

class Loss(nn.Module):
    calls = 0

    def forward(self, logits):
        self.calls += 1
        wrong = self.calls == 2 and os.environ.get("LOCAL_RANK") == "1"
        return logits.pow(2).mean() + (math.nan if wrong else 0.0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("on_nonfinite", ["stop", "skip"])
def test_all_ranks_end_or_skip_together(tmp_path: Path, on_nonfinite: str) -> None:
    (tmp_path / "only_rank_one.py").write_text(ONLY_RANK_ONE)
    loss = term("own", "X").replace("tests.module.test_nonfinite.X", "only_rank_one.Loss")
    options = (
        *ALONE,
        loss,
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "hydra.run.dir=run",
        f"on_nonfinite={on_nonfinite}",
    )
    result = subprocess.run(
        [sys.executable, "-m", "kd_lightning.commands.train", *options],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    if on_nonfinite == "stop":
        assert result.returncode == 1, result.stderr
        assert len(lines) == 1
        # Which step it is depends on how often the loss is tried before the training.
        assert re.search(r"step [01]: own \(nan\) is not finite", lines[0])
    else:
        assert result.returncode == 0, result.stderr
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["skipped_steps"] == 1
