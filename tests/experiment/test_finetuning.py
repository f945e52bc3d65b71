"""A teacher with weights from elsewhere, fine-tuned first, once; a student that starts from such weights."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from safetensors import safe_open
from torch import nn

from kd_lightning.models import create_model, load_weights
from tests.conftest import SHORT, Command
from tests.experiment.test_train import summary

TEACHER = (*SHORT, "teacher.weights=w.pth", "scratch=false")


class PowerCut(Callback):
    """Ends a training in the middle of its second epoch, as long as the environment says so."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if "POWER_CUT" in os.environ and trainer.current_epoch == 1 and trainer.global_step > 8:
            raise OSError("no power")


class OfHundred(nn.Sequential):
    """A network of the user's own, whose code makes a head of 100 classes."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 100))


@pytest.fixture
def elsewhere(tmp_path: Path) -> nn.Module:
    """A network of 100 classes, whose weights lie in w.pth."""
    torch.manual_seed(1)
    network = create_model("digits_cnn_8", num_classes=100, in_channels=1)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    return network


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


def kept(store: Path) -> nn.Module:
    """The one network that was trained."""
    network = create_model("digits_cnn_8", num_classes=10, in_channels=1)
    (weights,) = store.glob("*/weights.safetensors")
    load_weights(network, weights)
    return network


def test_a_teacher_of_other_classes_is_fine_tuned_once(command: Command, store: Path, elsewhere: nn.Module) -> None:
    first = command("kd-train", *TEACHER, "teacher.finetune=head", "hydra.run.dir=first")
    assert first.code == 0, first.errors
    assert "teacher        digits_cnn_8, fine-tuned (head), training" in first.output
    assert "weights: all of w.pth but the classifier (fc), which is new" in first.output
    tuned = kept(store)
    for name, value in tuned.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, elsewhere.state_dict()[name]), "the rest stays as it is"
    record = summary(Path("first"))["teacher"]
    assert record["model"] == "digits_cnn_8"
    assert record["top1"] > 0
    command("kd-train", "-m", *TEACHER, "teacher.finetune=head", "temperature=2,8", "hydra.sweep.dir=sweep")
    assert len([*store.glob("*/weights.safetensors")]) == 1, "found by a sweep, and by each of its jobs"
    Path("w.pth").unlink()
    again = command("kd-eval", "run=first")
    assert again.code == 0, again.errors
    assert "training" not in again.output
    assert "not on this machine" in again.output, "which network that was is told by the weights that it began with"


def test_what_it_starts_from_and_how_it_is_tuned_make_another_teacher(
    command: Command, store: Path, elsewhere: nn.Module
) -> None:
    options = (*TEACHER, "trainer.max_epochs=1", "test=false")
    for mode in ("whole", "head", "gradual"):
        outcome = command("kd-train", *options, f"teacher.finetune={mode}")
        assert outcome.code == 0, outcome.errors
        assert f"fine-tuned ({mode}), training" in outcome.output
    agreement = command("kd-eval", f"run={outcome.run}")
    assert "agreement with teacher" in agreement.output, "found, and not trained"
    assert "not on this machine" not in agreement.output
    recipe = command("kd-train", *options, "teacher.finetune=whole", "teacher.optimizer.lr=0.01")
    assert "fine-tuned (whole), training" in recipe.output
    elsewhere.get_parameter("fc.bias").data.add_(1)
    torch.save(elsewhere.state_dict(), "w.pth")
    other = command("kd-train", *options, "teacher.finetune=whole")
    assert "fine-tuned (whole), training" in other.output
    assert len([*store.glob("*/weights.safetensors")]) == 5


def test_one_of_these_classes_keeps_its_head_and_begins_with_it(command: Command, store: Path) -> None:
    torch.manual_seed(1)
    network = create_model("digits_cnn_8", num_classes=10, in_channels=1)
    torch.save(network.state_dict(), "w.pth")
    outcome = command("kd-train", *TEACHER, "teacher.finetune=whole", "teacher.optimizer={lr: 0, weight_decay: 0}")
    assert outcome.code == 0, outcome.errors
    assert torch.equal(kept(store).get_parameter("fc.weight"), network.get_parameter("fc.weight"))


def test_one_that_was_cut_short_goes_on_as_if_it_had_not_been(
    command: Command, store: Path, elsewhere: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = (*TEACHER, "teacher.finetune=gradual", "test=false", "hydra.run.dir=run")
    options += ("+callbacks.cut={_target_: tests.experiment.test_finetuning.PowerCut}",)
    options += ("+trainer.val_check_interval=0.5",)
    monkeypatch.setenv("POWER_CUT", "1")
    with pytest.raises(OSError, match="no power"):
        command("kd-train", *options)
    monkeypatch.delenv("POWER_CUT")
    assert [*store.glob("*/weights.safetensors")] == []
    resumed = command("kd-train", *options)
    assert resumed.code == 0, resumed.errors
    assert "resuming" in resumed.output
    cut = kept(store).state_dict()
    monkeypatch.setenv("KD_LIGHTNING_CACHE", str(tmp_path / "other"))
    command("kd-train", *options[:-3], *options[-2:], "hydra.run.dir=undisturbed")
    for name, value in kept(tmp_path / "other" / "networks").state_dict().items():
        torch.testing.assert_close(cut[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("part", ["teacher", "student"])
def test_a_network_of_ones_own_gets_a_new_head(
    command: Command, store: Path, elsewhere: nn.Module, tmp_path: Path, part: str
) -> None:
    torch.save(OfHundred().state_dict(), tmp_path / "own.pth")
    own = (f"{part}.model={{_target_: tests.experiment.test_finetuning.OfHundred}}", f"{part}.weights=own.pth")
    options = (*SHORT[:2], "trainer.max_epochs=1", *own, *(["teacher.finetune=head"] if part == "teacher" else []))
    outcome = command("kd-train", *options, "scratch=false", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.errors
    (teachers,) = store.glob("*/weights.safetensors")
    with safe_open(teachers if part == "teacher" else "run/student.safetensors", "pt") as file:
        (entry,) = json.loads(file.metadata()["conversions"])
        assert entry["conversion"] == "kd_lightning.conversions.ReplaceHead"
        assert entry["record"]["outputs"] == 10
    found = command("kd-eval", "run=run")
    assert found.code == 0, found.errors
    assert "agreement with teacher" in found.output


def photos(folder: Path) -> None:
    """Sixteen small coloured pictures of two classes."""
    for i in range(16):
        path = folder / ("train" if i < 8 else "val") / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def published(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """torchvision's weights of a model as if they had been downloaded."""
    from torchvision.models import get_model, get_model_weights

    torch.manual_seed(2)
    state: dict[str, torch.Tensor] = get_model(name, weights=None).state_dict()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder))
    (folder / "checkpoints").mkdir()
    torch.save(state, folder / "checkpoints" / Path(get_model_weights(name).DEFAULT.url).name)
    return state


def test_pretrained_weights_of_a_thousand_classes(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "photos")
    state = published("squeezenet1_1", tmp_path, monkeypatch)
    model = "torchvision/squeezenet1_1"
    data = ("data=small_folder", "data.root=photos", "data.image_size=32", "data.augment=null")
    still = "optimizer={lr: 0, weight_decay: 0, momentum: 0}"
    teacher = (f"teacher.model={model}", "teacher.weights=pretrained", "teacher.finetune=head")
    student = (f"student.model={model}", "student.weights=pretrained", "++student.optimizer={lr: 0, weight_decay: 0}")
    alone = ("scratch={optimizer: {lr: 0, weight_decay: 0}}", f"teacher.{still}", "trainer.max_epochs=1")
    quiet = ("callbacks.progress_bar=null", "hydra.run.dir=run")
    outcome = command("kd-train", *data, *teacher, *student, *alone, *quiet)
    assert outcome.code == 0, outcome.errors
    assert "squeezenet1_1, fine-tuned (head), training" in outcome.output
    records = summary(Path("run"))
    seen = {name: records[name]["nll"] for name in ("teacher", "scratch", "student")}
    assert seen["scratch"] == seen["student"] == seen["teacher"], "all three begin as the same network"
    found = create_model(model, num_classes=2)
    load_weights(found, "run/student.safetensors")
    for name, value in found.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(value, state[name])


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        (TEACHER, ["teacher.finetune=half"], "teacher.finetune=half: must be one of whole, head, gradual, or null"),
        (TEACHER, ["teacher.finetune=[head]"], "teacher.finetune=['head']: must be one of whole, head, gradual, or"),
        (SHORT, ["teacher.finetune=head", "teacher.weights=train"], "teacher.finetune=head: trains weights from else"),
        (SHORT, ["teacher.finetune=head", "teacher.weights=null"], "teacher.weights=null has none; give pretrained or"),
        (SHORT, ["teacher.weights=null", "teacher.optimizer.lr=0.1"], "or teacher.finetune=whole"),
        (TEACHER, ["teacher.finetune=gradual", "optimizer.sam=0.1"], "gradual: optimizer.sam looks nearby with all"),
        (
            ["teacher=ensemble", "teacher.finetune=head"],
            ["teacher.models=[digits_cnn_8,digits_cnn_4]", "teacher.weights=w.pth"],
            "teacher.weights=w.pth: these are not the weights",
        ),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(
    command: Command, elsewhere: nn.Module, given: list[str], options: list[str], told: str
) -> None:
    outcome = command("kd-train", *given, *options)
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert told in line
    assert not (outcome.folder / "outputs").exists()


def test_the_networks_of_an_ensemble_are_fine_tuned_apart(command: Command, store: Path, elsewhere: nn.Module) -> None:
    ensemble = ("teacher=ensemble", "teacher.models=[digits_cnn_8,digits_cnn_8]", "teacher.weights=w.pth")
    options = ("teacher.finetune=head", "trainer.max_epochs=1", "callbacks.progress_bar=null", "scratch=false")
    outcome = command("kd-train", *ensemble, *options)
    assert outcome.code == 0, outcome.errors
    assert "digits_cnn_8, fine-tuned (head), seed +1, training" in outcome.output
    assert len([*store.glob("*/weights.safetensors")]) == 2
