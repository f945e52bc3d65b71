"""Taking up a run again in its own folder."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from tests.conftest import SHORT, Command


class PowerCut(Callback):
    """Ends the training in the middle of its second epoch."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1:
            raise OSError("no power")


def test_an_unfinished_run_is_taken_up_where_it_stopped(command: Command) -> None:
    options = (*SHORT[1:], "trainer.max_epochs=3")
    folder = command("kd-train", *options, "hydra.run.dir=whole").folder
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", crash)
    assert not (folder / "cut" / "summary.json").exists()
    resumed = command("kd-train", *options, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    whole, cut = (torch.load(folder / name / "checkpoints/last.ckpt", weights_only=True) for name in ("whole", "cut"))
    assert whole["global_step"] == cut["global_step"] == 3 * 7, "last.ckpt is the last epoch, not the best"
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(cut["state_dict"][name], value, rtol=0, atol=0)


class Forgetful(nn.Sequential):
    """A network that drops half of its features, by the random numbers of its training."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))


def test_a_student_with_dropout_is_taken_up_with_the_random_numbers_of_its_epoch(command: Command) -> None:
    student = "student.model={_target_: tests.runs.test_resume.Forgetful}"
    options = ("teacher=none", student, "trainer.max_epochs=3", "callbacks.progress_bar=null")
    folder = command("kd-train", *options, "hydra.run.dir=whole").folder
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=cut", crash)
    resumed = command("kd-train", *options, "hydra.run.dir=cut")
    assert resumed.code == 0, resumed.errors
    whole, cut = (torch.load(folder / name / "checkpoints/last.ckpt", weights_only=True) for name in ("whole", "cut"))
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(cut["state_dict"][name], value, rtol=0, atol=0)


def test_a_finished_run_is_not_run_again(command: Command, run_folder: Path) -> None:
    first = run_folder / "summary.json"
    before = first.stat().st_mtime_ns
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 0
    assert "distilled student" in outcome.output
    assert first.stat().st_mtime_ns == before


def test_a_run_of_another_config_is_not_overwritten(command: Command, run_folder: Path) -> None:
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run", "temperature=2")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "temperature=4.0, not 2" in outcome.error_lines[0]
    assert (run_folder / "summary.json").exists()


def test_metrics_from_before_the_interruption_are_kept(command: Command) -> None:
    options = ("teacher=none", "trainer.max_epochs=3", "callbacks.progress_bar=null", "trainer.log_every_n_steps=1")
    crash = "+callbacks.power_cut={_target_: tests.runs.test_resume.PowerCut}"
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options, "hydra.run.dir=run", crash)
    folder = command("kd-train", *options, "hydra.run.dir=run").folder / "run"
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == list(range(3 * 7))


def test_a_refused_config_leaves_the_run_as_it_was(command: Command, run_folder: Path) -> None:
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    for other in ("student.model=digits_cnn_8", "trainer.max_epochs=3"):
        outcome = command("kd-train", *SHORT, "hydra.run.dir=run", other)
        assert outcome.code == 2
        assert other.partition("=")[0] in outcome.error_lines[0]
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before
    assert command("kd-eval", "run=run").code == 0


def test_a_finished_run_without_checkpoints_is_not_shown_as_another_configs(command: Command, run_folder: Path) -> None:
    shutil.rmtree(run_folder / "checkpoints")
    before = (run_folder / "summary.json").read_bytes()
    other = command("kd-train", *SHORT, "hydra.run.dir=run", "temperature=2")
    assert other.code == 2
    assert len(other.error_lines) == 1
    assert "temperature=4.0, not 2; give the same config" in other.error_lines[0]
    elsewhere = (f"paths.cache_dir={run_folder.parent / 'cache'}", "logger=tensorboard", "test=false")
    same = command("kd-train", *SHORT, "hydra.run.dir=run", *elsewhere)
    assert same.code == 0, same.errors
    assert "distilled student" in same.output
    assert (run_folder / "summary.json").read_bytes() == before


def test_a_run_of_one_batch_is_not_shown_as_the_whole_one(command: Command) -> None:
    one_batch = ("debug=fast_dev_run", "teacher=none", "callbacks.progress_bar=null", "hydra.run.dir=run")
    for _ in range(2):
        assert command("kd-train", *one_batch).code == 0
    outcome = command("kd-train", *one_batch[1:])
    assert outcome.code == 2
    assert "trainer.fast_dev_run=True" in outcome.error_lines[0]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(command: Command, run_folder: Path) -> None:
    last, before = (run_folder / "checkpoints" / name for name in ("last.ckpt", "last.before.ckpt"))
    content = bytearray(last.read_bytes())
    stored = torch.load(last, weights_only=True)["state_dict"]
    content[content.index(next(value for value in stored.values() if value.ndim).numpy().tobytes())] ^= 1
    last.write_bytes(content)
    expected = (run_folder / "student.safetensors").read_bytes()
    (run_folder / "summary.json").unlink()
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    assert f"{last} is damaged; going on from the checkpoint before it, {before}" in outcome.errors.replace("\n", "")
    assert (run_folder / "student.safetensors").read_bytes() == expected


def test_two_damaged_checkpoints_are_one_line(command: Command, run_folder: Path) -> None:
    for name in ("last.ckpt", "last.before.ckpt"):
        (run_folder / "checkpoints" / name).write_bytes(b"PK")
    (run_folder / "summary.json").unlink()
    outcome = command("kd-train", *SHORT, "hydra.run.dir=run")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert "last.ckpt: is damaged, and so is the one before; remove" in outcome.error_lines[0]
