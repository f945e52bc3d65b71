"""The moving average of what is trained: its numbers, where it is, and that a training goes on with it exactly."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule
from kd_lightning.callbacks import EMA, SeededBatches
from kd_lightning.errors import UserError
from tests.conftest import Command

QUIET: Any = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}


def net(width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3))


def batches() -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(1)
    images, target = torch.rand(48, 8, generator=draw), torch.randint(3, (48,), generator=draw)
    return DataLoader(TensorDataset(images, target), batch_size=8)


class Recorder(Callback):
    """The weights of each learner after each step, and while they are validated."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.trained.append(copy.deepcopy(pl_module.student.state_dict()))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.validated.append(copy.deepcopy(pl_module.student.state_dict()))


def trained(module: DistillationModule, *callbacks: Callback, epochs: int = 2, ckpt: Path | None = None) -> Trainer:
    given, saves = [SeededBatches(0), *callbacks], any(isinstance(one, ModelCheckpoint) for one in callbacks)
    trainer = Trainer(max_epochs=epochs, callbacks=given, enable_checkpointing=saves, num_sanity_val_steps=0, **QUIET)
    trainer.fit(module, batches(), batches(), ckpt_path=ckpt, weights_only=True)
    return trainer


def averaged(
    start: dict[str, Tensor], steps: list[dict[str, Tensor]], decay: float, warmup: bool
) -> list[dict[str, Tensor]]:
    """The average after each step in double precision, by its definition; counts are the latest ones."""
    found, average = [], {name: value.double() for name, value in start.items()}
    for count, weights in enumerate(steps):
        own = min(decay, (1 + count) / (10 + count)) if warmup else decay
        for name, value in weights.items():
            average[name] = own * average[name] + (1 - own) * value if value.is_floating_point() else value.double()
        found.append(dict(average))
    return found


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("several", [True, False])
def test_the_average_is_validated_and_left_behind(warmup: bool, several: bool) -> None:
    torch.manual_seed(0)
    student = {"one": net(), "two": net(4)} if several else net()
    module = DistillationModule(student=student, num_classes=3)
    start, seen = copy.deepcopy(module.student.state_dict()), Recorder()
    trained(module, EMA(decay=0.8, warmup=warmup), seen)
    expected = averaged(start, seen.trained, 0.8, warmup)
    for place, found in ((5, seen.validated[0]), (11, seen.validated[-1]), (11, module.student.state_dict())):
        for name, value in found.items():
            torch.testing.assert_close(value.double(), expected[place][name], rtol=1e-5, atol=1e-6)
    assert module.student.state_dict().keys() == start.keys()


def test_the_training_itself_is_the_same_with_and_without() -> None:
    found = []
    for callbacks in ([EMA()], []):
        torch.manual_seed(0)
        seen = Recorder()
        trained(DistillationModule(student=net(), num_classes=3), *callbacks, seen)
        found.append(seen.trained)
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_with_accumulation_it_follows_steps_not_batches() -> None:
    ema = EMA()
    module = DistillationModule(student=net(), num_classes=3)
    Trainer(max_epochs=1, accumulate_grad_batches=3, callbacks=[ema], enable_checkpointing=False, **QUIET).fit(
        module, batches()
    )
    assert ema.updates == {"student": 2}


class Faulty(nn.Module):
    """A network that answers NaN in its second and third step."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.steps = net(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return self.net(x) * (float("nan") if self.training and self.steps in (2, 3) else 1.0)


def test_of_several_each_average_counts_the_steps_that_its_own_learner_took() -> None:
    torch.manual_seed(0)
    sound, faulty = net(4), Faulty()

    def fit(student: Any) -> DistillationModule:
        module = DistillationModule(copy.deepcopy(student), num_classes=3, on_nonfinite="skip")
        trained(module, EMA())
        return module

    together = fit({"sound": sound, "faulty": faulty})
    assert together.finite.skipped_of == {"faulty": 2}
    for name, network in (("sound", sound), ("faulty", faulty)):
        ours, theirs = together.network_of(name).state_dict(), fit(network).network_of("student").state_dict()
        assert [key for key, value in theirs.items() if not torch.equal(ours[key], value)] == []


@pytest.mark.parametrize("several", [True, False])
def test_a_checkpoint_goes_on_exactly(tmp_path: Path, several: bool) -> None:
    def fresh() -> DistillationModule:
        torch.manual_seed(0)
        return DistillationModule(student={"one": net(), "two": net(4)} if several else net(), num_classes=3)

    whole, cut, resumed = fresh(), fresh(), fresh()
    seen, rest = Recorder(), Recorder()
    trained(whole, EMA(decay=0.9), seen, epochs=3)
    saved = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    trained(cut, EMA(decay=0.9), saved, epochs=1)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for name, value in cut.student.state_dict().items():  # whoever loads it, without the callback, has the average
        assert torch.equal(stored["state_dict"][f"student.{name}"], value)
    trained(resumed, EMA(decay=0.9), rest, epochs=3, ckpt=tmp_path / "last.ckpt")
    for name, value in whole.student.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], value)
        assert torch.equal(rest.trained[-1][name], seen.trained[-1][name])
    over = fresh()
    trainer = trained(over, EMA(decay=0.9), epochs=1, ckpt=tmp_path / "last.ckpt")  # with no step left
    trainer.save_checkpoint(tmp_path / "over.ckpt")
    again = torch.load(tmp_path / "over.ckpt", weights_only=True)
    for kind in ("state_dict", "trained_weights"):
        torch.testing.assert_close(again[kind], stored[kind], rtol=0, atol=0)


class SavedInValidation(Callback):
    """Saves a checkpoint within a validation, as a signal does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.save_checkpoint(self.path)


def test_a_checkpoint_from_within_a_validation_holds_both(tmp_path: Path) -> None:
    seen = Recorder()
    trained(DistillationModule(student=net(), num_classes=3), EMA(decay=0.9), SavedInValidation(tmp_path / "in"), seen)
    stored = torch.load(tmp_path / "in", weights_only=True)
    for name, value in seen.trained[-1].items():
        assert torch.equal(stored["trained_weights"]["student"][name], value)
        assert torch.equal(stored["state_dict"][f"student.{name}"], seen.validated[-1][name])


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^decay=1: must be"):
        EMA(decay=1)
    alone = ModelCheckpoint(tmp_path, save_weights_only=True)
    with pytest.raises(UserError, match="save_weights_only=True"):
        trained(DistillationModule(student=net(), num_classes=3), EMA(), alone)


def test_a_run_keeps_the_average_and_goes_on_with_it(command: Command) -> None:
    small = ("teacher=none", "callbacks=ema", "callbacks.progress_bar=null", "trainer.max_epochs=2")
    whole = command("kd-train", *small, "hydra.run.dir=whole")
    assert whole.code == 0, whole.errors
    cut = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *small, "hydra.run.dir=cut", cut)
    resumed = command("kd-train", *small, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    stored = [
        torch.load(resumed.folder / name / "checkpoints/last.ckpt", weights_only=True) for name in ("whole", "cut")
    ]
    for kind in ("state_dict", "trained_weights"):
        torch.testing.assert_close(stored[0][kind], stored[1][kind], rtol=0, atol=0)
    evaluated = command("kd-eval", "run=whole", "checkpoint=last")
    assert evaluated.code == 0, evaluated.errors
