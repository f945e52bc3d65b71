"""LightningCLI with the package's own data modules; skipped where jsonargparse is not installed."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("jsonargparse")

from lightning.pytorch.cli import LightningCLI

from kd_lightning import DistillationModule, data
from kd_lightning.data import CropFlip, Identity, RandAugment

QUICK = {"max_epochs": 1, "limit_train_batches": 2, "logger": False, "accelerator": "cpu"}
SILENT = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
CROP = "{class_path: kd_lightning.data.CropFlip, init_args: {padding: 2, flip: false}}"
ABSTRACT = {"DataModule", "ImageDataModule", "ImageFilesDataModule", "InMemoryDataModule"}
MODULES = [name for name in data.__all__ if name.endswith("DataModule") and name not in ABSTRACT]
STRONG = "{class_path: kd_lightning.data.RandAugment}"


class Small(DistillationModule):
    def __init__(self, width: int = 8) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10)), num_classes=10)


def cli(monkeypatch: pytest.MonkeyPatch, model: Any, module: str, *arguments: str, run: bool = False) -> LightningCLI:
    monkeypatch.setattr(sys, "argv", ["cli", *arguments])
    return LightningCLI(
        model, getattr(data, module), run=run, save_config_kwargs={"overwrite": True}, trainer_defaults=QUICK | SILENT
    )


@pytest.mark.parametrize(
    "name", [name for name in data.__all__ if name.endswith("DataModule") and name not in ABSTRACT]
)
def test_every_data_module_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    made = cli(monkeypatch, Small, name, f"--data.root={tmp_path}", "--data.batch_size=7", f"--data.strong={STRONG}")
    assert made.datamodule.batch_size == 7
    assert made.datamodule.root == tmp_path
    assert isinstance(made.datamodule.strong, RandAugment)


@pytest.mark.parametrize(
    ("given", "augment"), [(None, CropFlip(1, flip=False)), ("null", Identity()), (CROP, CropFlip(2, flip=False))]
)
def test_its_augmentation_is_the_usual_one_or_one_that_is_given(
    monkeypatch: pytest.MonkeyPatch, given: str | None, augment: Any
) -> None:
    made = cli(monkeypatch, Small, "DigitsDataModule", *([] if given is None else [f"--data.augment={given}"]))
    assert made.datamodule.augment == augment


def test_it_trains_tests_and_predicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    fitted = cli(monkeypatch, Small, "DigitsDataModule", "fit", "--data.val_fraction=0.2", run=True)
    assert fitted.trainer.callback_metrics["val/top1"] > 0
    assert (tmp_path / "config.yaml").is_file()
    answers = fitted.trainer.predict(fitted.model, datamodule=fitted.datamodule)
    assert torch.cat(answers).shape == (898, 10)  # type: ignore[arg-type]
    cli(monkeypatch, Small, "DigitsDataModule", "test", "--config=config.yaml", run=True)


def test_so_does_the_module_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    student = "{class_path: kd_lightning.models.zoo.digits.DigitsCNN, init_args: {width: 2, num_classes: 10}}"
    made = cli(monkeypatch, DistillationModule, "DigitsDataModule", "fit", f"--model.student={student}", run=True)
    assert made.trainer.callback_metrics["train/ce"] > 0
