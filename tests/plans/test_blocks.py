"""plan=blocks: each stage of the student learns by itself on what the teacher gives, then they are joined and tuned."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from kd_lightning.data import DigitsDataModule
from kd_lightning.models import create_model, save_weights
from tests.conftest import Command
from tests.plans.digits_by_hand import ONE_BATCH, PLATEAU, images, kept, layer

SMALL = (
    *("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu", "scheduler=constant"),
    *("callbacks.progress_bar=null", "scratch=false"),
)
BLOCKS = ("plan=blocks", *SMALL)


@pytest.fixture(autouse=True)
def store(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def labels() -> torch.Tensor:
    data = DigitsDataModule(batch_size=64, val_fraction=0.5, train_samples=64, augment=None, seed=0)
    data.setup()
    (batch,) = data.train_dataloader()
    return batch["target"]


def test_a_step_of_each_block_is_one_of_its_own_loss(command: Command, store: Path, tmp_path: Path) -> None:
    """W_k - lr·(∂/∂W_k L_k + decay·W_k), L_k = mean((s_k(t_{k-1}) - t_k)²), of the head CE(head(t_3), y)."""
    torch.manual_seed(5)
    save_weights(create_model("digits_cnn_4", num_classes=10, in_channels=1), tmp_path / "begins.safetensors", {})
    given = ("teacher.model=digits_cnn_4", f"student.weights={tmp_path / 'begins.safetensors'}", "loss=ce", *ONE_BATCH)
    outcome = command("kd-train", *BLOCKS, *given, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    weights = {name: {k: v.double() for k, v in one.items()} for name, one in kept(store).items()}
    teacher, joined = weights["teacher"], weights["student.stage1"]
    before = {name: value.double() for name, value in load_file(tmp_path / "begins.safetensors").items()}
    own = {name: value.clone().requires_grad_("running" not in name) for name, value in before.items()}
    # One order of images for both: the teacher's answers and the labels are of the same batch.
    x, y = images(), labels()
    losses = []
    for number in (1, 2, 3):
        target = layer(x, teacher, number)
        losses.append((layer(x, own, number, learns=True) - target).square().mean())
        x = target
    losses.append(F.cross_entropy(F.linear(x.mean(dim=(2, 3)), own["fc.weight"], own["fc.bias"]), y))
    learned = {name: value for name, value in own.items() if name.endswith(("weight", "bias"))}
    assert len(learned) == 3 * 3 + 2
    for name, gradient in zip(learned, torch.autograd.grad(sum(losses), [*learned.values()]), strict=True):  # type: ignore[arg-type]
        expected = before[name] - 0.05 * (gradient + 5e-4 * before[name])
        torch.testing.assert_close(joined[name].float(), expected.float())


def test_blocks_are_joined_compared_kept_and_tuned(command: Command, store: Path) -> None:
    given = (*BLOCKS, "teacher.model=digits_cnn_8", f"scheduler={PLATEAU}", "hydra.run.dir=run")
    outcome = command("kd-train", *given)
    assert outcome.code == 0, outcome.errors
    run = outcome.folder / "run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["plan"]["name"] == "blocks"
    assert [*summary["plan"]["networks"]] == ["teacher", "blocks", "student"]
    assert summary["blocks"]["params"] == summary["student"]["params"], "the student itself, nothing beside it"
    assert [*summary["objective"]] == ["ce", "kd"]
    joined = next(one for name, one in kept(store).items() if name == "student.stage1")
    assert joined.keys() == load_file(run / "student.safetensors").keys()
    tested = command("kd-eval", "run=run")
    assert tested.code == 0, tested.errors
    assert f"{100 * summary['student']['agreement']:.2f}" in tested.output
    again = command("kd-train", *given[:-1], "optimizer.lr=0.05", "hydra.run.dir=again")
    assert again.output.count("found (") == 2
    assert (run / "student.safetensors").read_bytes() == (outcome.folder / "again/student.safetensors").read_bytes()


class PowerCut(Callback):
    """Ends the training of the blocks in the middle of its second epoch, where the environment says so."""

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        if os.environ.get("CUT") and trainer.current_epoch == 1 and "stage1" in module.objective.terms:
            raise OSError("no power")


@pytest.mark.slow
def test_blocks_are_taken_up_exactly(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what lies between two stages of different widths, which learns too."""
    cut = f"+callbacks.power_cut={{_target_: {__name__}.PowerCut}}"
    given = (*BLOCKS, cut, "teacher.model=digits_cnn_8", "trainer.max_epochs=2", "trainer.limit_train_batches=2")
    whole = command("kd-train", *given, "hydra.run.dir=whole").folder / "whole"
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("CUT", "yes")
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *given, "hydra.run.dir=cut")
    monkeypatch.delenv("CUT")
    resumed = command("kd-train", *given, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    assert "resuming" in resumed.output
    for name in ("student.safetensors", "metrics.csv", "blocks/metrics.csv"):
        assert (whole / name).read_bytes() == (whole.parent / "cut" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["plan.epochs=0"], "plan.epochs=0: must be a whole number, 1 or more; or null"),
        (
            ["teacher.model=null", "loss=ce"],
            "plan=blocks: learns from the stages of a network, and the teacher is none",
        ),
        (["student.taps={stage1: 'layer1:mean'}"], "student.taps.stage1=layer1:mean: cannot be replaced by what"),
        (["method=simkd"], "student.adapt: rebuilds the student around its teacher"),
        (["method=ab"], "plan=blocks: each of its networks would need the training before its training"),
        (["compile=true"], "compile=true: plan=blocks stands between the student's stages"),
        (["loss=attention"], "loss=[attention]: all of it is of stages, and the student's head learns on the logits"),
        (
            ["teacher=ensemble", "teacher.models=[digits_cnn_4,digits_cnn_8]"],
            "plan=blocks: learns from the stages of one",
        ),
        (
            ["student.taps={stage1: layer1}", "teacher.taps={stage4: fc}"],
            "plan.term: takes a stage of each network, and",
        ),
    ],
)
def test_what_does_not_go_with_blocks_is_refused(options: list[str], words: str, command: Command) -> None:
    outcome = command("kd-train", *BLOCKS, *options, "hydra.run.dir=run")
    assert outcome.code == 2
    (line,) = outcome.error_lines
    assert line.startswith(f"error: {words}"), line
    assert not (outcome.folder / "run").exists()
